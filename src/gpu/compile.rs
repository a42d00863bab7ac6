//! Compiled pipelines: made once each, on all processors at a time, and kept on disk where the backend can.

use std::collections::{HashMap, VecDeque};
#[cfg(not(target_arch = "wasm32"))]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::pipeline::Shader;
#[cfg(not(target_arch = "wasm32"))]
use super::pipeline_file::PipelineFile;

pub(super) enum Slot {
    Compiling,
    Ready(wgpu::ComputePipeline),
    /// The compiler panicked.
    #[cfg(not(target_arch = "wasm32"))]
    Failed,
}

#[derive(Default)]
pub(super) struct State {
    /// By the shader's label.
    pub slots: HashMap<String, Slot>,
    waiting: VecDeque<Shader>,
    threads: usize,
    /// Something was compiled since the file was written.
    #[cfg(not(target_arch = "wasm32"))]
    is_new: bool,
    /// Those who wait for a pipeline.
    #[cfg(target_arch = "wasm32")]
    pub wakers: Vec<std::task::Waker>,
    /// Pipelines that were asked for since none was under way, and how many of them are made.
    #[cfg(target_arch = "wasm32")]
    asked: usize,
    #[cfg(target_arch = "wasm32")]
    made: usize,
    #[cfg(target_arch = "wasm32")]
    pub listener: Option<std::rc::Rc<dyn Fn(usize, usize)>>,
}

pub(super) struct Shared {
    pub device: wgpu::Device,
    checked: bool,
    #[cfg(not(target_arch = "wasm32"))]
    file: Option<PipelineFile>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The pipelines of a device.
pub(super) struct Pipelines {
    pub shared: Arc<Shared>,
}

impl Pipelines {
    /// `checked`: see [`GpuOptions::checked`](super::GpuOptions::checked).
    pub fn new(
        device: &wgpu::Device,
        checked: bool,
        #[cfg(not(target_arch = "wasm32"))] file: Option<PipelineFile>,
    ) -> Self {
        let shared = Shared {
            device: device.clone(),
            checked,
            #[cfg(not(target_arch = "wasm32"))]
            file,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        // A browser's GPU objects stay on one thread; natively they do not.
        #[cfg_attr(target_arch = "wasm32", expect(clippy::arc_with_non_send_sync))]
        let shared = Arc::new(shared);
        Self { shared }
    }

    /// Where they are kept.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn file(&self) -> Option<&PipelineFile> {
        self.shared.file.as_ref()
    }

    /// Has a shader compiled on another thread, where there is one, if that was not done yet.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn request(&self, shader: &Shader) {
        let state = &mut *self.shared.state();
        let label = shader.label();
        if state.slots.contains_key(&label) {
            return;
        }
        state.slots.insert(label, Slot::Compiling);
        state.waiting.push_back(shader.clone());
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        if state.threads < most && self.shared.spawn() {
            state.threads += 1;
        }
    }

    /// Has the browser compile a shader, if that was not done yet.
    #[cfg(target_arch = "wasm32")]
    pub fn request(&self, shader: &Shader) {
        let mut state = self.shared.state();
        if state.slots.contains_key(&shader.label()) {
            return;
        }
        state.slots.insert(shader.label(), Slot::Compiling);
        if state.asked == state.made {
            (state.asked, state.made) = (0, 0);
        }
        state.asked += 1;
        drop(state);
        self.shared.begin(shader);
        self.shared.tell();
    }

    /// The pipeline of a shader. One that the browser is still at is made by whoever cannot wait.
    #[cfg(target_arch = "wasm32")]
    pub fn get(&self, shader: &Shader) -> wgpu::ComputePipeline {
        self.request(shader);
        if let Slot::Ready(pipeline) = &self.shared.state().slots[&shader.label()] {
            return pipeline.clone();
        }
        let pipeline = self.shared.pipeline(shader);
        self.shared.done(shader, Slot::Ready(pipeline.clone()));
        pipeline
    }

    /// The pipeline of a shader, as soon as it is compiled.
    ///
    /// # Panics
    /// If the compiler does.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn get(&self, shader: &Shader) -> wgpu::ComputePipeline {
        self.request(shader);
        let label = shader.label();
        let mut state = self.shared.state();
        loop {
            match &state.slots[&label] {
                Slot::Ready(pipeline) => return pipeline.clone(),
                Slot::Failed => panic!("compiling {label} ended in a panic"),
                Slot::Compiling => {}
            }
            state = match state.waiting.pop_front() {
                // This thread would only wait.
                Some(next) => {
                    drop(state);
                    self.shared.compile(&next);
                    self.shared.state()
                }
                None => self.shared.changed.wait(state).expect("no panic holds this lock"),
            };
        }
    }
}

impl Drop for Pipelines {
    /// Until the file is written.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.waiting.clear();
        while state.threads > 0 {
            state = self.shared.changed.wait(state).expect("no panic holds this lock");
        }
        drop(state);
        self.shared.save();
    }
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds this lock")
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn spawn(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        std::thread::Builder::new().name("compiler".to_owned()).spawn(move || shared.work()).is_ok()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn work(&self) {
        loop {
            let mut state = self.state();
            let Some(shader) = state.waiting.pop_front() else {
                let is_last = state.threads == 1;
                drop(state);
                if is_last {
                    self.save();
                }
                // What came in the meantime has seen a thread that may be this one.
                let mut state = self.state();
                if state.waiting.is_empty() {
                    state.threads -= 1;
                    self.changed.notify_all();
                    return;
                }
                continue;
            };
            drop(state);
            self.compile(&shader);
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn compile(&self, shader: &Shader) {
        let slot = catch_unwind(AssertUnwindSafe(|| self.pipeline(shader))).map_or(Slot::Failed, Slot::Ready);
        let mut state = self.state();
        state.slots.insert(shader.label(), slot);
        state.is_new = true;
        self.changed.notify_all();
    }

    /// Keeps a pipeline that is made, unless it was there already, and tells of it.
    #[cfg(target_arch = "wasm32")]
    pub fn done(&self, shader: &Shader, slot: Slot) {
        let mut state = self.state();
        let place = state.slots.entry(shader.label()).or_insert(Slot::Compiling);
        if !matches!(place, Slot::Compiling) {
            return;
        }
        *place = slot;
        state.made += 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.tell();
    }

    /// Has the listener told of what is under way.
    #[cfg(target_arch = "wasm32")]
    fn tell(&self) {
        let state = self.state();
        let (made, asked, listener) = (state.made, state.asked, state.listener.clone());
        drop(state);
        if let Some(listener) = listener {
            listener(made, asked);
        }
    }

    pub fn pipeline(&self, shader: &Shader) -> wgpu::ComputePipeline {
        let label = shader.label();
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(shader.source().into()),
        };
        let checks = match self.checked {
            true => wgpu::ShaderRuntimeChecks::checked(),
            false => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        // SAFETY: the shaders are this crate's own. None indexes a buffer outside of what is bound, loops without end
        // or divides by zero: the kernels' tests run with the checks on and off.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: self.checked,
                ..Default::default()
            },
            #[cfg(not(target_arch = "wasm32"))]
            cache: self.file.as_ref().map(PipelineFile::cache),
            #[cfg(target_arch = "wasm32")]
            cache: None,
        })
    }

    #[cfg(target_arch = "wasm32")]
    fn save(&self) {}

    /// Writes the file if there is something new. It only saves time: a disk that is full is no error.
    #[cfg(not(target_arch = "wasm32"))]
    fn save(&self) {
        let is_new = std::mem::take(&mut self.state().is_new);
        if let (true, Some(file)) = (is_new, &self.file) {
            let _ = file.save();
        }
    }
}
