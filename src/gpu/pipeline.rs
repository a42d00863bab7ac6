//! Shaders as whole files put together, their parameter blocks, and compiled pipelines.

use std::collections::HashMap;
use std::sync::Mutex;

use super::device::Gpu;

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

/// One compiled form of a kernel: WGSL files put together, never edited.
#[derive(Debug, Clone)]
pub struct Shader {
    /// Stem of the kernel's WGSL file.
    pub kernel: &'static str,
    /// Which alternatives were put in, such as `"bf16"`; empty if there is one form only.
    pub variant: String,
    /// The files' texts, shared parts first.
    pub parts: Vec<&'static str>,
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

/// Compiled pipelines by (kernel, variant).
#[derive(Default)]
pub(super) struct PipelineCache {
    compiled: Mutex<HashMap<String, wgpu::ComputePipeline>>,
}

impl Gpu {
    /// The pipeline of a shader, compiled at its first use.
    pub(super) fn pipeline(&self, shader: &Shader) -> wgpu::ComputePipeline {
        let mut compiled = self.pipelines.compiled.lock().expect("no panic holds this lock");
        let label = shader.label();
        compiled
            .entry(label.clone())
            .or_insert_with(|| {
                let descriptor = wgpu::ShaderModuleDescriptor {
                    label: Some(&label),
                    source: wgpu::ShaderSource::Wgsl(shader.source().into()),
                };
                // SAFETY: TODO host
                let module = unsafe {
                    self.device
                        .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
                };
                self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&label),
                    layout: None,
                    module: &module,
                    entry_point: Some("main"),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        zero_initialize_workgroup_memory: false,
                        ..Default::default()
                    },
                    cache: None,
                })
            })
            .clone()
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
