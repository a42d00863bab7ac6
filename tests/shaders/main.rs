//! Every shader that the crate can make, without a GPU: it is valid WGSL within WebGPU's default limits,
//! translates to Metal's and Direct3D's languages, agrees with its Rust twin, and documents itself. Those with
//! cooperative matrices are for Vulkan, and keep to what a device with them has.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, TypeInner};
use postil::gpu::{Param, ParamKind, Params, Shader};
use postil::kernels::attention::COOPERATIVE_WORKGROUP_STORAGE;
use postil::kernels::step::Step;
use postil::kernels::{all_shaders, cooperative_shaders};

/// WebGPU's default limits, which the baseline variants keep to.
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_MEMORY: u32 = 16 * 1024;
const MAX_BINDING: u32 = 1000;

fn is_cooperative(shader: &Shader) -> bool {
    shader.parts.iter().any(|part| part.contains("enable wgpu_cooperative_matrix;"))
}

/// Those of the baseline, and those with cooperative matrices.
fn every_shader() -> Vec<Shader> {
    let (plain, cooperative) = (all_shaders(), cooperative_shaders());
    assert!(!plain.iter().any(is_cooperative) && cooperative.iter().all(is_cooperative));
    [plain, cooperative].concat()
}

fn parse(shader: &Shader) -> Module {
    let source = shader.source();
    naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}: {}", shader.label(), error.emit_to_string(&source)))
}

/// Validates with no optional capability, such as f16 or subgroups, but what cooperative matrices need if the shader has
/// them. (`unpack2x16float`, which every WebGPU implementation has, is a capability to naga because OpenGL may lack it.)
fn validate(shader: &Shader, module: &Module) -> ModuleInfo {
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let cooperative = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    capabilities.set(cooperative, is_cooperative(shader));
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(module)
        .unwrap_or_else(|error| panic!("{}: {}", shader.label(), error.emit_to_string(&shader.source())))
}

#[test]
fn all_are_valid() {
    for shader in every_shader() {
        validate(&shader, &parse(&shader));
    }
}

/// Pipelines are kept by label.
#[test]
fn labels_are_unique() {
    let mut seen = BTreeSet::new();
    for shader in every_shader() {
        assert!(seen.insert(shader.label()), "{} occurs twice", shader.label());
    }
}

#[test]
fn all_translate_to_metal() {
    for shader in all_shaders() {
        let module = parse(&shader);
        let info = validate(&shader, &module);
        let (text, translation) =
            msl::write_string(&module, &info, &msl::Options::default(), &msl::PipelineOptions::default())
                .unwrap_or_else(|error| panic!("{}: {error}", shader.label()));
        for name in &translation.entry_point_names {
            let name = name.as_ref().unwrap_or_else(|error| panic!("{}: {error}", shader.label()));
            assert!(text.contains(&format!("kernel void {name}")), "{}: no kernel {name}", shader.label());
        }
    }
}

#[test]
fn all_translate_to_direct3d() {
    for shader in all_shaders() {
        let module = parse(&shader);
        let info = validate(&shader, &module);
        let (mut text, options) = (String::new(), hlsl::Options::default());
        let entry_points = hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{}: {error}", shader.label()))
            .entry_point_names;
        for name in entry_points {
            let name = name.unwrap_or_else(|error| panic!("{}: {error}", shader.label()));
            assert!(text.contains(&format!("void {name}(")), "{}: no function {name}", shader.label());
        }
    }
}

#[test]
fn cooperative_ones_translate_to_vulkan() {
    for shader in cooperative_shaders() {
        let module = parse(&shader);
        let info = validate(&shader, &module);
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        let words = spv::write_vec(&module, &info, &options, None)
            .unwrap_or_else(|error| panic!("{}: {error}", shader.label()));
        assert!(!words.is_empty(), "{}", shader.label());
    }
}

/// Whether the module has a struct of this name, and that it is laid out like `fields`.
fn check_struct(shader: &Shader, module: &Module, name: &str, fields: &[Param]) -> bool {
    let Some((_, found)) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)) else {
        return false;
    };
    let TypeInner::Struct { members, span } = &found.inner else {
        panic!("{}: {name} is not a struct", shader.label())
    };
    let wgsl: Vec<_> = members
        .iter()
        .map(|member| {
            let TypeInner::Scalar(scalar) = module.types[member.ty].inner else {
                panic!("{}: {name}.{:?} is not a scalar", shader.label(), member.name)
            };
            (member.name.clone().unwrap_or_default(), scalar.kind, scalar.width, member.offset)
        })
        .collect();
    let rust: Vec<_> = (0..)
        .zip(fields)
        .map(|(i, field)| {
            let kind = match field.kind {
                ParamKind::U32 => ScalarKind::Uint,
                ParamKind::F32 => ScalarKind::Float,
            };
            (field.name.to_owned(), kind, 4, 4 * i)
        })
        .collect();
    assert_eq!(wgsl, rust, "{}: struct {name} in WGSL (left) and in Rust (right)", shader.label());
    assert_eq!(*span as usize, 4 * fields.len(), "{}: size of struct {name}", shader.label());
    true
}

#[test]
fn parameter_blocks_equal_their_rust_twins() {
    let mut steps = 0;
    for shader in every_shader() {
        let module = parse(&shader);
        assert!(check_struct(&shader, &module, "Params", shader.params), "{} has Params", shader.label());
        steps += usize::from(check_struct(&shader, &module, "Step", Step::FIELDS));
    }
    assert!(steps > 0, "some shader uses the step's values");
    assert_eq!(size_of::<Step>(), 4 * Step::FIELDS.len());
}

/// The binding scheme of `gpu::Plan`: parameters at 0, storage buffers from 1 on without a gap, the
/// step's values at 9.
#[test]
fn bindings_follow_the_scheme() {
    for shader in every_shader() {
        let (module, label) = (parse(&shader), shader.label());
        let mut storage = Vec::new();
        for (_, global) in module.global_variables.iter() {
            let Some(binding) = &global.binding else { continue };
            assert!(binding.group == 0 && binding.binding < MAX_BINDING, "{label}: {:?}", global.name);
            let type_name = module.types[global.ty].name.as_deref();
            match (global.space, type_name) {
                (AddressSpace::Storage { .. }, _) => storage.push(binding.binding),
                (AddressSpace::Uniform, Some("Params")) => assert_eq!(binding.binding, 0, "{label}: Params"),
                (AddressSpace::Uniform, Some("Step")) => assert_eq!(binding.binding, 9, "{label}: Step"),
                (space, _) => panic!("{label}: {:?} is bound in {space:?}", global.name),
            }
        }
        storage.sort_unstable();
        assert!(storage.len() <= MAX_STORAGE_BUFFERS, "{label} binds {} storage buffers", storage.len());
        let expected: Vec<u32> = (1..=storage.len() as u32).collect();
        assert_eq!(storage, expected, "{label}: bindings of the storage buffers");
    }
}

#[test]
fn all_keep_to_the_limits() {
    for shader in every_shader() {
        let (module, label) = (parse(&shader), shader.label());
        let [entry] = &module.entry_points[..] else { panic!("{label} has one entry point") };
        assert_eq!(entry.name, "main", "{label}");
        assert!(entry.workgroup_size.iter().all(|&n| n > 0), "{label}: {:?}", entry.workgroup_size);
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert!(invocations <= MAX_INVOCATIONS, "{label}: {invocations} invocations in a workgroup");
        let memory: u32 = module
            .global_variables
            .iter()
            .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
            .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()).next_multiple_of(16))
            .sum();
        let most = if is_cooperative(&shader) { COOPERATIVE_WORKGROUP_STORAGE } else { MAX_WORKGROUP_MEMORY };
        assert!(memory <= most, "{label}: {memory} bytes of workgroup memory");
    }
}

/// All WGSL files below `folder`, with their texts.
fn wgsl_files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files.extend(wgsl_files(&path));
        } else {
            assert_eq!(path.extension().and_then(|e| e.to_str()), Some("wgsl"), "{}", path.display());
            let text = std::fs::read_to_string(&path).expect("a text file");
            files.insert(path, text);
        }
    }
    files
}

fn shader_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")
}

/// Whether a part is made for its shader instead of being a file: declarations of buffers, each with the functions that
/// read and write it, or a tile of cooperative matrices.
fn is_generated(part: &str) -> bool {
    let function = |line: &str| {
        let (name, _) = line.strip_prefix("fn ")?.split_once('(')?;
        Some(name.rsplit('_').next().unwrap_or(name).to_owned())
    };
    let is_function =
        |line: &str, names: &[&str]| function(line).is_some_and(|n| names.contains(&n.as_str()));
    let declares = |line: &str| {
        let buffer = line.starts_with("@group(0) @binding(") && line.contains(") var<storage, ");
        buffer && line.ends_with(";")
            || is_function(line, &["at", "put", "eight", "cell"]) && line.ends_with('}')
    };
    let makes_tile = |line: &str| {
        let variable = line.starts_with("const ") || line.starts_with("var<private> c");
        let inside = line.starts_with("  ") || line == "}";
        variable || inside || is_function(line, &["begin", "multiply", "finish"])
    };
    !part.contains("//") && (part.lines().all(declares) || part.lines().all(makes_tile))
}

/// Shaders are whole files put together, and what is generated: no file is unused, and the last is the kernel's own.
#[test]
fn all_files_are_used_whole() {
    let (files, shaders) = (wgsl_files(&shader_folder()), every_shader());
    for (path, text) in &files {
        let used = shaders.iter().flat_map(|shader| &shader.parts).any(|part| part == text);
        assert!(used, "{} is in no shader", path.display());
    }
    for shader in &shaders {
        let own = &files[&shader_folder().join(shader.kernel).with_extension("wgsl")];
        assert_eq!(
            shader.parts.last().map(AsRef::as_ref),
            Some(own.as_str()),
            "{}: its own file",
            shader.label()
        );
        for part in &shader.parts {
            let is_file = files.values().any(|text| text == part);
            assert!(
                is_file || is_generated(part),
                "{}: a part is neither file nor generated:\n{part}",
                shader.label()
            );
        }
    }
    assert!(!files.values().any(|text| is_generated(text)), "a file is told from what is generated");
}

/// The fields of a file's header: what comes before the first, then each by its name.
fn header(text: &str) -> BTreeMap<&str, String> {
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = "";
    for line in text.lines().map_while(|line| line.strip_prefix("// ")) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        // A field's name stands at the margin, its text at a fixed column.
        let line = if rest.starts_with(' ') && !name.is_empty() {
            current = name;
            rest
        } else {
            line
        };
        let field = fields.entry(current).or_default();
        field.push_str(line.trim());
        field.push(' ');
    }
    fields
}

#[test]
fn kernels_document_themselves() {
    for (path, text) in wgsl_files(&shader_folder()) {
        let (header, path) = (header(&text), path.display());
        let field = |name: &str| header.get(name).map_or("", |text| text.trim());
        assert!(!field("").is_empty(), "{path}: no description at the top");
        if path.to_string().contains("shared") {
            continue;
        }
        assert!(field("").contains(['=', '←']), "{path}: the description has no equation");
        for name in ["Shapes", "Dispatch", "Output"] {
            assert!(!field(name).is_empty(), "{path}: the header has no {name}");
        }
        assert!(field("Output").contains('='), "{path}: Output says neither = nor +=");
    }
}
