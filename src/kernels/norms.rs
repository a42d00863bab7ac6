//! What RMSNorm and LayerNorm have in common: the types of what they read and write.

use std::borrow::Cow;

use super::ROW;
use super::storage::{Access, ROUNDING, Width, dtype_of, name_of, storage, written_if};
use crate::gpu::{Dtype, Tensor};

/// The binding of `operand`.
const OPERAND: u32 = 6;

/// Types of a forward pass.
#[derive(Clone, Copy)]
pub(super) struct Forward {
    x: Dtype,
    y: Dtype,
    kept: Option<Dtype>,
    width: Width,
}

/// Types of a backward pass.
#[derive(Clone, Copy)]
pub(super) struct Backward {
    x: Dtype,
    operand: Option<Dtype>,
    width: Width,
}

impl Forward {
    pub fn of(x: &Tensor, y: &Tensor, kept: Option<&Tensor>) -> Self {
        Self { x: x.dtype(), y: y.dtype(), kept: dtype_of(kept), width: Width::of_lines(&[x.columns()]) }
    }

    /// Those that passes have.
    pub fn all() -> Vec<Self> {
        let four = |x, y, kept| Self { x, y, kept, width: Width::Four };
        vec![
            Self { width: Width::One, ..four(Dtype::F32, Dtype::F32, None) },
            four(Dtype::F32, Dtype::F32, None),
            four(Dtype::F32, Dtype::F32, Some(Dtype::BF16)),
            four(Dtype::F32, Dtype::F16, None),
            four(Dtype::F32, Dtype::F16, Some(Dtype::BF16)),
            four(Dtype::BF16, Dtype::F16, None),
        ]
    }
}

impl Backward {
    pub fn of(x: &Tensor, operand: Option<&Tensor>) -> Self {
        Self { x: x.dtype(), operand: dtype_of(operand), width: Width::of_lines(&[x.columns()]) }
    }

    /// Those that passes have.
    pub fn all() -> Vec<Self> {
        let four = |x, operand| Self { x, operand, width: Width::Four };
        vec![
            Self { width: Width::One, ..four(Dtype::F32, None) },
            four(Dtype::F32, None),
            four(Dtype::F32, Some(Dtype::F16)),
            four(Dtype::BF16, None),
            four(Dtype::BF16, Some(Dtype::F16)),
        ]
    }
}

/// Variant and parts of a forward kernel, all but its own file; `kept` is the last of its bindings.
pub(super) fn forward_parts(types: Forward, kept_binding: u32) -> (String, Vec<Cow<'static, str>>) {
    let Forward { x, y, kept, width } = types;
    let kept_name = kept.map_or(String::new(), |dtype| format!("-keeps-{}", name_of(dtype)));
    let name = format!("{}{}-{}{kept_name}", name_of(x), width.suffix(), name_of(y));
    let parts = vec![
        ROW.into(),
        width.text().into(),
        ROUNDING.into(),
        storage(1, "x", x, width, Access::Read),
        storage(2, "scale", Dtype::F32, width, Access::Read),
        storage(3, "y", y, width, Access::ReadWrite),
        written_if(kept_binding, "kept", kept, width),
    ];
    (name, parts)
}

/// The bias of a LayerNorm.
pub(super) fn bias_part(types: Forward) -> Cow<'static, str> {
    storage(5, "bias", Dtype::F32, types.width, Access::Read)
}

/// As [`forward_parts`], of a backward kernel.
pub(super) fn backward_parts(types: Backward) -> (String, Vec<Cow<'static, str>>) {
    let Backward { x, operand, width } = types;
    let operand_name = operand.map_or(String::new(), |dtype| format!("-operand-{}", name_of(dtype)));
    let name = format!("{}{}{operand_name}", name_of(x), width.suffix());
    let parts = vec![
        ROW.into(),
        width.text().into(),
        ROUNDING.into(),
        storage(1, "x", x, width, Access::Read),
        storage(2, "scale", Dtype::F32, width, Access::Read),
        storage(4, "dy", Dtype::F32, width, Access::Read),
        storage(5, "dx", Dtype::F32, width, Access::ReadWrite),
        written_if(OPERAND, "operand", operand, width),
    ];
    (name, parts)
}
