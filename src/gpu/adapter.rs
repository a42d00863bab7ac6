//! The adapters that the platform shows: what each says of itself, and which one is meant.

use crate::error::{Error, ErrorKind, Result};

/// What an adapter says of itself, for `postil doctor` and device choice.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AdapterSummary {
    /// Marketing name.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12` or `BrowserWebGpu`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `Cpu`, …
    pub device_type: String,
    /// Driver name and version, where known.
    pub driver: String,
    /// Optional features that kernels can use or that timing needs.
    pub features: Vec<String>,
    /// Largest buffer, bytes.
    pub max_buffer_size: u64,
    /// Largest storage binding, bytes.
    pub max_storage_buffer_binding_size: u64,
    /// Workgroup memory, bytes.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations per workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Storage buffers per shader stage.
    pub max_storage_buffers_per_shader_stage: u32,
}

impl AdapterSummary {
    /// Name, backend and driver in one line: two equal ones compute the same bits.
    pub fn describe(&self) -> String {
        format!("{} ({}, {})", self.name, self.backend, self.driver)
    }

    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let offered = adapter.features();
        let features = [
            (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
            (wgpu::Features::SHADER_F16, "shader-f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
        ]
        .into_iter()
        .filter(|(feature, _)| offered.contains(*feature))
        .map(|(_, name)| name.to_owned())
        .collect();
        Self {
            name: info.name,
            backend: format!("{:?}", info.backend),
            device_type: format!("{:?}", info.device_type),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            features,
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
        }
    }
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

/// What kernels with cooperative matrices need.
pub(super) const COOPERATIVE_FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// Whether an adapter has the size and types that the kernels use, and subgroups of the size that they count on.
pub(super) fn has_cooperative_matrix(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    adapter.features().contains(COOPERATIVE_FEATURES)
        && (info.subgroup_min_size, info.subgroup_max_size) == (32, 32)
        && adapter.cooperative_matrix_properties().iter().any(|found| {
            (found.m_size, found.n_size, found.k_size) == (16, 16, 16)
                && (found.ab_type, found.cr_type) == (F16, F32)
        })
}

/// Every adapter that the platform shows, best first as the platform orders them.
pub async fn list_adapters() -> Vec<AdapterSummary> {
    let adapters = instance().enumerate_adapters(wgpu::Backends::all()).await;
    adapters.iter().map(AdapterSummary::of).collect()
}

/// Picks by index or by a part of the name, or, without a selector, what the platform calls fast.
pub(super) async fn choose(selector: Option<&str>) -> Result<wgpu::Adapter> {
    let instance = instance();
    let Some(selector) = selector else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance.request_adapter(&options).await.map_err(|error| {
            Error::new(
                ErrorKind::NoGpu,
                format!(
                    "no GPU found: the platform offers no Vulkan, Metal, DX12 or WebGPU adapter ({error}). \
                     Install a GPU driver (on Linux also the Vulkan loader, `libvulkan1`), or use a browser \
                     with WebGPU; `postil doctor` lists what is seen"
                ),
            )
        });
    };
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let wanted = selector.to_lowercase();
    let found = match wanted.parse::<usize>() {
        Ok(index) => (index < adapters.len()).then_some(index),
        Err(_) => adapters.iter().position(|a| a.get_info().name.to_lowercase().contains(&wanted)),
    };
    match found {
        Some(index) => Ok(adapters.swap_remove(index)),
        None => {
            let names: Vec<_> =
                adapters.iter().enumerate().map(|(i, a)| format!("{i}: {}", a.get_info().name)).collect();
            Err(Error::new(
                ErrorKind::NoGpu,
                format!(
                    "no GPU matches \"{selector}\" (an index or a part of the name); found: {}",
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                ),
            ))
        }
    }
}
