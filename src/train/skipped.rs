//! Steps that were not applied, since their loss or gradient was not finite.

use crate::config::{Arithmetic, Precision};
use crate::error::{Error, ErrorKind, Result};

/// Such a step.
pub(super) struct Skipped {
    pub step: usize,
    pub loss: f64,
    pub grad_norm: f64,
    /// In which it was computed.
    pub arithmetic: Arithmetic,
}

impl Skipped {
    /// What to do about it, when the next step would be computed in `now`, its loss multiplied by `scale`: the
    /// arithmetic of the steps to come, and what to say. In f16 a value may have left the range: the loss's scale was
    /// halved for that already, and if it is not the scale, f32 has the range.
    ///
    /// # Errors
    /// [`ErrorKind::NotFinite`] if no arithmetic that the run may have can help.
    pub fn deal_with(
        self,
        now: Arithmetic,
        scale: f32,
        precision: Precision,
    ) -> Result<(Arithmetic, String)> {
        let Self { step, loss, grad_norm, arithmetic } = self;
        let what = format!("step {step}: loss is {loss} and the gradient's norm {grad_norm}");
        let in_f16 = arithmetic == Arithmetic::F16;
        if in_f16 && now == Arithmetic::F32 {
            return Ok((now, format!("{what}. The step, still in f16, was skipped")));
        }
        if in_f16 && loss.is_finite() && scale > 1.0 {
            let text = format!(
                "{what}: the gradient left f16's range. The step was skipped, and the loss's scale is now {scale}"
            );
            return Ok((now, text));
        }
        if in_f16 && precision == Precision::Auto {
            let text = format!(
                "{what} in f16, whose range the model leaves. The step was skipped; the run goes on in f32"
            );
            return Ok((Arithmetic::F32, text));
        }
        let hint =
            if in_f16 { "precision f32 or auto may help: the model may leave f16's range. " } else { "" };
        Err(Error::new(
            ErrorKind::NotFinite,
            format!(
                "{what}. The step was not applied. {hint}A lower learning rate usually helps; if step 1 fails, the \
                 base model's weights or an initial adapter hold values that are not finite"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every combination: what comes next, or that nothing helps.
    #[test]
    fn what_helps() {
        let finite = |arithmetic| Skipped { step: 3, loss: 1.0, grad_norm: f64::INFINITY, arithmetic };
        let lost = |arithmetic| Skipped { step: 3, loss: f64::NAN, grad_norm: f64::NAN, arithmetic };
        let (f16, f32) = (Arithmetic::F16, Arithmetic::F32);
        for precision in [Precision::Auto, Precision::F16] {
            assert_eq!(finite(f16).deal_with(f16, 8.0, precision).unwrap().0, f16, "the scale helps");
            assert_eq!(lost(f16).deal_with(f32, 8.0, precision).unwrap().0, f32, "it has left f16 already");
        }
        for skipped in [finite(f16), lost(f16)] {
            let scale = if skipped.loss.is_finite() { 1.0 } else { 8.0 };
            assert_eq!(skipped.deal_with(f16, scale, Precision::Auto).unwrap().0, f32);
        }
        for (skipped, hint) in
            [(finite(f16), true), (lost(f16), true), (finite(f32), false), (lost(f32), false)]
        {
            let (now, precision) = if hint { (f16, Precision::F16) } else { (f32, Precision::Auto) };
            let error = skipped.deal_with(now, 1.0, precision).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFinite);
            assert_eq!(error.to_string().contains("precision f32 or auto may help"), hint, "{error}");
        }
    }
}
