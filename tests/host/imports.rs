//! Imports go one way: error <- config <- {source, sink, checkpoint, tokenizer, data, gpu} <- kernels <- model
//! <- {base, memory, hub} <- {train, generate} <- bench <- {demo, main, web}. (`hub`, `demo` and `cli` are native only.)

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The crate's modules from the lowest layer up.
const LAYERS: [&[&str]; 10] = [
    &["error"],
    &["config"],
    &["source", "sink", "checkpoint", "tokenizer", "data", "gpu"],
    &["kernels"],
    &["model"],
    &["base", "memory", "hub"],
    &["train", "generate"],
    &["bench"],
    &["demo", "web"],
    &["main", "cli", "lib"],
];
/// Imports inside a layer.
const WITHIN_A_LAYER: [(&str, &str); 6] = [
    ("sink", "source"),
    ("checkpoint", "source"),
    ("checkpoint", "sink"),
    ("tokenizer", "source"),
    ("data", "source"),
    ("data", "tokenizer"),
];
/// What `lib.rs` re-exports from `error`.
const RE_EXPORTED: [&str; 4] = ["Context", "Error", "ErrorKind", "Result"];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("src/ has a module {module} without a place in the order of layers"))
}

fn is_allowed(from: &str, to: &str) -> bool {
    from == to || layer(to) < layer(from) || WITHIN_A_LAYER.contains(&(from, to))
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.collect::<Vec<_>>().join("\n")
}

/// The modules that the paths `crate::…` in `code` name first.
fn imported(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect()
    };
    let mut found = Vec::new();
    for (start, matched) in code.match_indices("crate::") {
        let is_other_word =
            code[..start].chars().next_back().is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        if is_other_word {
            continue;
        }
        let rest = &code[start + matched.len()..];
        if !rest.starts_with('{') {
            found.push(word(rest));
            continue;
        }
        let (mut depth, mut at_start) = (0, false);
        for (index, letter) in rest.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if at_start && letter.is_alphabetic() {
                found.push(word(&rest[index..]));
            }
            at_start = depth == 1 && (letter == '{' || letter == ',' || at_start && letter.is_whitespace());
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 10, "src/ was not found");
    let files: Vec<(String, PathBuf, String)> = files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&src).expect("a file below src").to_owned();
            let first = relative.components().next().expect("a part").as_os_str().to_str().expect("UTF-8");
            let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
            (module, relative, without_comments(&fs::read_to_string(&path).expect("a file")))
        })
        .collect();
    // Exported macros are at the crate's root, wherever they are defined.
    let mut macros = BTreeMap::new();
    for (module, _, code) in &files {
        for name in code.split("macro_rules! ").skip(1) {
            macros.insert(name.split([' ', '{']).next().expect("a name"), module.as_str());
        }
    }
    let mut wrong = Vec::new();
    for (module, relative, code) in &files {
        for import in imported(code) {
            let import = import.as_str();
            let root = if RE_EXPORTED.contains(&import) { "error" } else { import };
            if !is_allowed(module, macros.get(root).copied().unwrap_or(root)) {
                wrong.push(format!("{}: {module} imports crate::{import}", relative.display()));
            }
        }
        // Two steps up from src/x/y.rs is the crate, past the check above.
        if code.contains("super::super::") {
            wrong.push(format!("{}: write crate:: for super::super::", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_sees() {
    let code = "use crate::a::{b, c};\nuse crate::{\n    d::{e, f}, g,\n    h as i};\nlet x = crate::j::k(); my_crate::l; $crate::m!()";
    assert_eq!(imported(code), ["a", "d", "g", "h", "j", "m"]);
    assert!(imported(&without_comments("// [`crate::model`]\n/// crate::train")).is_empty());
    assert!(is_allowed("train", "model") && !is_allowed("model", "train") && !is_allowed("gpu", "data"));
    assert!(
        is_allowed("data", "tokenizer")
            && !is_allowed("tokenizer", "data")
            && !is_allowed("train", "generate")
    );
}
