//! What SwiGLU and GELU have in common: the types of what they read and write.

use std::borrow::Cow;

use super::storage::{Access, ROUNDING, Width, dtype_of, name_of, storage, written_if};
use super::{expect_shape, per_element};
use crate::gpu::{Dtype, Params, PlanBuilder, Shader, Tensor, row_parts};

/// Types of a forward pass: of `y`, and of what is kept of `x` if anything is.
#[derive(Clone, Copy)]
pub(super) struct Forward {
    y: Dtype,
    kept: Option<Dtype>,
    width: Width,
}

/// Types of a backward pass: of `x` with its gradient, and of `y`.
#[derive(Clone, Copy)]
pub(super) struct Backward {
    both: Dtype,
    width: Width,
}

impl Forward {
    /// Those that passes have.
    pub const ALL: [Self; 4] = [
        Self { y: Dtype::F32, kept: None, width: Width::One },
        Self { y: Dtype::F32, kept: None, width: Width::Four },
        Self { y: Dtype::F16, kept: None, width: Width::Four },
        Self { y: Dtype::F16, kept: Some(Dtype::F16), width: Width::Four },
    ];

    /// Variant and declarations.
    pub fn parts(self) -> (String, Vec<Cow<'static, str>>) {
        let Self { y, kept, width } = self;
        let name = format!("{}{}{}", name_of(y), width.suffix(), if kept.is_some() { "-keeps" } else { "" });
        let parts = vec![
            width.text().into(),
            ROUNDING.into(),
            storage(1, "x", Dtype::F32, width, Access::Read),
            storage(2, "y", y, width, Access::ReadWrite),
            written_if(3, "kept", kept, width),
        ];
        (name, parts)
    }
}

impl Backward {
    /// Those that passes have.
    pub const ALL: [Self; 3] = [
        Self { both: Dtype::F32, width: Width::One },
        Self { both: Dtype::F32, width: Width::Four },
        Self { both: Dtype::F16, width: Width::Four },
    ];

    /// Variant and declarations.
    pub fn parts(self) -> (String, Vec<Cow<'static, str>>) {
        let Self { both, width } = self;
        let parts = vec![
            width.text().into(),
            ROUNDING.into(),
            storage(1, "x", both, width, Access::ReadWrite),
            storage(2, "dy", Dtype::F32, width, Access::Read),
            storage(3, "y", both, width, Access::ReadWrite),
        ];
        (format!("{}{}", name_of(both), width.suffix()), parts)
    }
}

/// Adds a forward pass: `x` f32, `y` f32 or f16, `kept`, if there is to be another copy of `x`, f16.
pub(super) fn forward<P: Params>(
    plan: &mut PlanBuilder,
    shader: impl Fn(Forward) -> Shader,
    params: impl Fn(usize) -> P,
    x: &Tensor,
    y: &Tensor,
    kept: Option<&Tensor>,
) {
    let width = Width::of_lines(&[y.columns()]);
    let shader = shader(Forward { y: y.dtype(), kept: dtype_of(kept), width });
    for part in row_parts(&[&[x, y], kept.as_slice()].concat()) {
        let [x, y] = [x, y].map(|tensor| tensor.slice(&part));
        let kept = kept.map(|kept| kept.slice(&part));
        let bindings = [&[&x, &y], kept.as_ref().as_slice()].concat();
        let units = part.len() * y.columns() / width.elements();
        plan.dispatch(shader.clone(), &params(part.len()), &bindings, per_element(units));
    }
}

/// Adds a backward pass: `x` and `y` of one type, `dy` f32.
pub(super) fn backward<P: Params>(
    plan: &mut PlanBuilder,
    shader: impl Fn(Backward) -> Shader,
    params: impl Fn(usize) -> P,
    [x, dy, y]: [&Tensor; 3],
) {
    expect_shape("dy", dy, y.rows(), y.columns());
    assert_eq!(x.dtype(), y.dtype(), "what is activated and its result have one type");
    let width = Width::of_lines(&[y.columns()]);
    let shader = shader(Backward { both: x.dtype(), width });
    for part in row_parts(&[x, dy, y]) {
        let [x, dy, y] = [x, dy, y].map(|tensor| tensor.slice(&part));
        let units = part.len() * y.columns() / width.elements();
        plan.dispatch(shader.clone(), &params(part.len()), &[&x, &dy, &y], per_element(units));
    }
}
