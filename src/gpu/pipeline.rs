//! Shaders as whole files put together, and their parameter blocks.

use std::borrow::Cow;

/// Scalar type of one field of a parameter block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// WGSL `u32`.
    U32,
    /// WGSL `f32`.
    F32,
}

/// One field of a parameter block. Every field has four bytes, so the i-th starts at `4·i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Field name, the same in WGSL and Rust.
    pub name: &'static str,
    /// Scalar type.
    pub kind: ParamKind,
}

/// A Rust twin of a shader's `struct Params`; made by the [`params!`](crate::params) macro.
pub trait Params: bytemuck::Pod {
    /// Fields in order.
    const FIELDS: &'static [Param];
}

/// One compiled form of a kernel: WGSL files put together, never edited, and declarations made for the types of its
/// buffers.
#[derive(Debug, Clone)]
pub struct Shader {
    /// Stem of the kernel's WGSL file.
    pub kernel: &'static str,
    /// Which alternatives were put in, such as `"bf16"`; empty if there is one form only.
    pub variant: String,
    /// The files' texts, shared parts and declarations first.
    pub parts: Vec<Cow<'static, str>>,
    /// Fields of `struct Params`.
    pub params: &'static [Param],
}

impl Shader {
    /// The complete WGSL text.
    pub fn source(&self) -> String {
        self.parts.join("\n")
    }

    /// `kernel/variant`, for labels and records.
    pub fn label(&self) -> String {
        if self.variant.is_empty() {
            self.kernel.to_owned()
        } else {
            format!("{}/{}", self.kernel, self.variant)
        }
    }
}

/// Declares a shader's parameter block: a `#[repr(C)]` struct of `u32` and `f32` fields that knows
/// its own layout, so that a test can hold it against the WGSL.
#[macro_export]
macro_rules! params {
    (@kind u32) => { $crate::gpu::ParamKind::U32 };
    (@kind f32) => { $crate::gpu::ParamKind::F32 };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* $field:ident: $kind:tt,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$fmeta])* pub $field: $kind,)* }

        impl $crate::gpu::Params for $name {
            const FIELDS: &'static [$crate::gpu::Param] = &[$($crate::gpu::Param {
                name: stringify!($field),
                kind: $crate::params!(@kind $kind),
            },)*];
        }
    };
}
