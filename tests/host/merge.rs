//! Merged models: every element's rounding, everything else to the byte, in any cut of the files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use half::{bf16, f16};
use pollster::block_on;
use postil::checkpoint::{
    Adapter, AdapterModule, GgufFile, MODEL_FILE, Merge, SafetensorsFile, ShardIndex, Sharding, TensorSource,
    open_weights, write_safetensors,
};
use postil::config::{LoraConfig, ModelConfig, ModuleId, Projection, TargetModules};
use postil::sink::{ByteSink, MemorySink};
use postil::source::{BoxFuture, ByteSource, MemorySource};
use postil::{Error, ErrorKind, Result};
use safetensors::Dtype;
use serde_json::json;

use super::exports::load;
use super::gguf::fixtures;

/// A Llama of one layer; q_proj is `[hidden, hidden]`.
fn llama(hidden: usize) -> ModelConfig {
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "num_attention_heads": hidden / 2, "num_hidden_layers": 1,
        "intermediate_size": 4, "vocab_size": 8, "head_dim": 2,
    });
    ModelConfig::from_json(config.to_string().as_bytes()).expect("a good config.json")
}

fn gpt2() -> ModelConfig {
    let config = json!({ "model_type": "gpt2", "n_embd": 4, "n_head": 1, "n_layer": 1, "n_inner": 6, "vocab_size": 8 });
    ModelConfig::from_json(config.to_string().as_bytes()).expect("a good config.json")
}

/// An adapter of one module of rank 2 and scale 2 (α = 4).
fn adapter(model: &ModelConfig, projection: Projection, value: impl Fn(usize) -> f32) -> Adapter {
    let (out_features, in_features) = model.projection_shape(projection);
    let id = ModuleId { layer: 0, projection };
    let config = LoraConfig {
        r: 2,
        lora_alpha: 4.0,
        target_modules: TargetModules::List(vec![id.name()]),
        ..LoraConfig::default()
    };
    let values = |len: usize| (0..len).map(&value).collect::<Vec<f32>>();
    let (a, b) = (values(2 * in_features), values(2 * out_features));
    Adapter { config, modules: vec![AdapterModule { id, r: 2, in_features, out_features, a, b }] }
}

/// scale·(B·A)[row, column] of [`adapter`], exact for small whole numbers.
fn delta(adapter: &Adapter, row: usize, column: usize) -> f64 {
    let AdapterModule { in_features, ref a, ref b, .. } = adapter.modules[0];
    2.0 * (0..2).map(|k| f64::from(b[2 * row + k]) * f64::from(a[k * in_features + column])).sum::<f64>()
}

type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Cow<'a, [u8]>);

fn source(tensors: &[Tensor<'_>]) -> SafetensorsFile {
    let bytes = write_safetensors(tensors, &BTreeMap::new()).expect("a file");
    block_on(SafetensorsFile::open(Rc::new(MemorySource::new(MODEL_FILE, bytes)))).expect("a good file")
}

/// The files of a merge by name, after checking that each has the size that was promised.
fn written(merge: &Merge<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for (i, (name, bytes)) in merge.files().enumerate() {
        let mut sink = MemorySink::new(name);
        let mut counted = 0;
        block_on(merge.write(i, &mut sink, &mut |bytes| counted += bytes))?;
        let written = sink.into_bytes();
        assert_eq!((written.len() as u64, counted), (bytes, bytes), "{name}");
        files.push((name.to_owned(), written));
    }
    Ok(files)
}

fn open(files: &[(String, Vec<u8>)], index: Option<&[u8]>) -> Rc<dyn TensorSource> {
    let source = |(name, bytes): &(String, Vec<u8>)| {
        (name.clone(), Rc::new(MemorySource::new(name.clone(), bytes.clone())) as Rc<dyn ByteSource>)
    };
    block_on(open_weights(&files.iter().map(source).collect::<Vec<_>>(), index)).expect("good files")
}

fn read(source: &dyn TensorSource, name: &str) -> Vec<u8> {
    let bytes = source.info(name).unwrap_or_else(|| panic!("no tensor {name}")).bytes();
    block_on(source.read(name, 0..bytes)).expect(name)
}

/// A type, and a number as it is stored in it: rounded once, from f64.
struct Kind {
    dtype: Dtype,
    stored: fn(f64) -> Vec<u8>,
}

const KINDS: [Kind; 3] = [
    Kind { dtype: Dtype::F32, stored: |value| (value as f32).to_le_bytes().to_vec() },
    Kind { dtype: Dtype::F16, stored: |value| f16::from_f64(value).to_le_bytes().to_vec() },
    Kind { dtype: Dtype::BF16, stored: |value| bf16::from_f64(value).to_le_bytes().to_vec() },
];

#[test]
fn elements_are_rounded_to_nearest_even() {
    let (name, conv_name) = ("model.layers.0.self_attn.q_proj.weight", "transformer.h.0.attn.c_attn.weight");
    let cases = [(llama(6), Projection::QProj, name), (gpt2(), Projection::CAttn, conv_name)];
    for ((model, projection, name), kind) in
        cases.iter().flat_map(|case| KINDS.iter().map(move |kind| (case, kind)))
    {
        // Whole numbers: every sum is exact in f32 before it is rounded. 256 + odd numbers are halfway between two
        // bf16, 2048 + odd numbers between two f16.
        let adapter = adapter(model, *projection, |i| ((i * 5) % 7) as f32 / 2.0 - 1.0);
        let (out_features, in_features) = model.projection_shape(*projection);
        let is_conv = *projection == Projection::CAttn;
        let shape = if is_conv { vec![in_features, out_features] } else { vec![out_features, in_features] };
        let base = |i: usize| [256.0, 258.0, -262.0, 2048.0, 2064.0, 3.0, 0.0][i % 7];
        let weight: Vec<u8> = (0..out_features * in_features).flat_map(|i| (kind.stored)(base(i))).collect();
        let tensors = [(*name, kind.dtype, shape.clone(), Cow::Owned(weight))];
        let source = source(&tensors);
        let merge = Merge::new(&source, &adapter, model, Sharding::AsBase).expect("a plan");
        assert!(merge.index().expect("an index").is_none());
        let files = written(&merge).expect("a merged model");
        let merged = open(&files, None);
        assert_eq!(merged.info(name), source.info(name));
        let wanted: Vec<u8> = (0..out_features * in_features)
            .flat_map(|i| {
                let (first, second) = (i / shape[1], i % shape[1]);
                let (row, column) = if is_conv { (second, first) } else { (first, second) };
                (kind.stored)(base(i) + delta(&adapter, row, column))
            })
            .collect();
        assert_eq!(read(&*merged, name), wanted, "{name} {}", kind.dtype);
    }
}

/// A matrix of several slices, whose borders lie inside rows.
#[test]
fn slices_may_end_inside_a_row() {
    let model = llama(1502);
    let adapter = adapter(&model, Projection::QProj, |i| ((i * 31) % 17) as f32 - 8.0);
    let name = "model.layers.0.self_attn.q_proj.weight";
    let base = |i: usize| ((i * 13) % 101) as f32;
    let weight: Vec<u8> = (0..1502 * 1502).flat_map(|i| base(i).to_le_bytes()).collect();
    assert!(weight.len() as u64 > 2 * postil::checkpoint::SLICE && !(1usize << 20).is_multiple_of(1502));
    let source = source(&[(name, Dtype::F32, vec![1502, 1502], Cow::Owned(weight))]);
    let merge = Merge::new(&source, &adapter, &model, Sharding::AsBase).expect("a plan");
    let merged = read(&*open(&written(&merge).expect("a merged model"), None), name);
    let found = merged.as_chunks::<4>().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes)));
    let differs = found
        .enumerate()
        .find(|&(i, value)| value != f64::from(base(i)) + delta(&adapter, i / 1502, i % 1502));
    assert_eq!(differs, None);
}

fn golden(case: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{case}/model.safetensors", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a golden model")
}

#[test]
fn everything_else_is_copied() {
    for case in ["gpt2", "tied_f16", "phi3", "gemma3", "tied_bf16"] {
        let (adapter, model) = load(case);
        let base = open(&[(MODEL_FILE.to_owned(), golden(case))], None);
        let merge = Merge::new(&*base, &adapter, &model, Sharding::AsBase).expect("a plan");
        let files = written(&merge).expect("a merged model");
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, MODEL_FILE);
        let merged = open(&files, None);
        assert!(merged.names().eq(base.names()), "{case}");
        let mut changed = 0;
        for name in base.names() {
            assert_eq!(merged.info(name), base.info(name), "{case} {name}");
            changed += usize::from(read(&*merged, name) != read(&*base, name));
        }
        assert_eq!(changed, adapter.modules.len(), "{case}");
        let text = String::from_utf8_lossy(&files[0].1);
        assert!(text.contains(r#""__metadata__":{"format":"pt"}"#), "transformers looks at it");
    }
}

#[test]
fn files_are_cut_as_the_base_or_as_asked() {
    let (adapter, model) = load("gqa_f32_untied");
    let whole = open(&[(MODEL_FILE.to_owned(), golden("gqa_f32_untied"))], None);
    let largest =
        whole.names().map(|name| whole.info(name).expect("a tensor").bytes()).max().expect("tensors");
    let total: u64 = whole.names().map(|name| whole.info(name).expect("a tensor").bytes()).sum();
    let merged = written(&Merge::new(&*whole, &adapter, &model, Sharding::AsBase).expect("a plan"));
    let merged = open(&merged.expect("a merged model"), None);

    for limit in [1, largest, largest + 1000, total - 1, total, u64::MAX] {
        let merge = Merge::new(&*whole, &adapter, &model, Sharding::AtMost(limit)).expect("a plan");
        let files = written(&merge).expect("a merged model");
        let index = merge.index().expect("an index");
        if limit >= total {
            assert_eq!((files.len(), &*files[0].0, index.is_none()), (1, MODEL_FILE, true));
        } else {
            assert!(
                files.len() > 1 && files[0].0 == format!("model-00001-of-{:05}.safetensors", files.len())
            );
        }
        let parts = open(&files, index.as_deref());
        for (name, _) in &files {
            let in_it = parts.names().filter(|tensor| parts.shard(tensor).is_some_and(|shard| shard == name));
            let sizes: Vec<u64> = in_it.map(|tensor| parts.info(tensor).expect("a tensor").bytes()).collect();
            assert!(
                sizes.iter().sum::<u64>() <= limit || sizes.len() == 1,
                "{name}: {sizes:?}, limit {limit}"
            );
        }
        assert!(parts.names().eq(merged.names()));
        assert!(merged.names().all(|name| read(&*parts, name) == read(&*merged, name)), "limit {limit}");

        // What came out in parts is a base in parts.
        if let Some(index) = index {
            let again = Merge::new(&*parts, &adapter, &model, Sharding::AsBase).expect("a plan");
            let names: Vec<&str> = again.files().map(|(name, _)| name).collect();
            assert!(names.iter().copied().eq(ShardIndex::parse(&index).expect("an index").files()));
            assert_eq!(again.index().expect("an index"), Some(index));
        }
    }
}

fn refused(result: Result<impl Sized>, kind: ErrorKind, part: &str) {
    let error: Error = result.err().unwrap_or_else(|| panic!("{part}: accepted"));
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let model = llama(2);
    let adapter = adapter(&model, Projection::QProj, |_| 200.0);
    let name = "model.layers.0.self_attn.q_proj.weight";
    let plan = |source: &dyn TensorSource, model: &ModelConfig| {
        Merge::new(source, &adapter, model, Sharding::AsBase).map(|merge| merge.files().count())
    };
    let tensor =
        |name, dtype, shape: [usize; 2], len| (name, dtype, shape.to_vec(), Cow::Owned(vec![0u8; len]));

    let other = source(&[tensor("model.layers.0.self_attn.k_proj.weight", Dtype::F16, [2, 2], 8)]);
    refused(plan(&other, &model), ErrorKind::Format, "q_proj.weight is missing");
    let wide = source(&[tensor(name, Dtype::F16, [2, 3], 12)]);
    refused(plan(&wide, &model), ErrorKind::Format, "has the shape [2, 3]");
    let bytes = source(&[tensor(name, Dtype::U8, [2, 2], 4)]);
    refused(plan(&bytes, &model), ErrorKind::Unsupported, "expected F32, F16 or BF16");
    let twice = source(&[
        tensor(name, Dtype::F16, [2, 2], 8),
        tensor("layers.0.self_attn.q_proj.weight", Dtype::F16, [2, 2], 8),
    ]);
    refused(plan(&twice, &model), ErrorKind::Format, "the same part");
    refused(plan(&other, &llama(4)), ErrorKind::Format, "does not fit");

    let file = std::fs::read(fixtures().join("llama-gpt-2.gguf")).expect("a fixture");
    let gguf = block_on(GgufFile::open(Rc::new(MemorySource::new("model.gguf", file)))).expect("a good file");
    refused(plan(&gguf, &model), ErrorKind::Unsupported, "export the adapter as GGUF");

    // 2·(200·200 + 200·200) is more than an f16 can hold.
    let halves = source(&[tensor(name, Dtype::F16, [2, 2], 8)]);
    let merge = Merge::new(&halves, &adapter, &model, Sharding::AsBase).expect("a plan");
    refused(written(&merge), ErrorKind::NotFinite, "row 0, column 0: the merged weight is no finite F16");
}

#[test]
fn a_full_disk_is_reported() {
    struct Full(u64);
    impl ByteSink for Full {
        fn name(&self) -> &str {
            "full"
        }

        fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
            Box::pin(async move {
                let left = self.0.checked_sub(bytes.len() as u64);
                self.0 = left.ok_or_else(|| Error::new(ErrorKind::Io, "full: no space left"))?;
                Ok(())
            })
        }
    }
    let (adapter, model) = load("qwen2");
    let base = open(&[(MODEL_FILE.to_owned(), golden("qwen2"))], None);
    let merge = Merge::new(&*base, &adapter, &model, Sharding::AsBase).expect("a plan");
    let bytes = merge.files().next().expect("a file").1;
    block_on(merge.write(0, &mut Full(bytes), &mut |_| {})).expect("room for all");
    refused(block_on(merge.write(0, &mut Full(bytes - 1), &mut |_| {})), ErrorKind::Io, "no space left");
}
