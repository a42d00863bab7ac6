//! Which modules a name, a list of names or a regular expression means: PEFT's rules
//! (`peft/tuners/tuners_utils.py`, `check_target_module_exists`).

use fancy_regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// PEFT's word for every linear module but the vocabulary projection.
const ALL_LINEAR: &str = "all-linear";

/// `target_modules`: the modules that get an adapter.
///
/// In JSON, as in PEFT, a list is [`List`](Self::List), the string `"all-linear"` (in any case)
/// [`AllLinear`](Self::AllLinear) and every other string [`Regex`](Self::Regex).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// Each entry is a module's whole name (`model.layers.0.self_attn.q_proj`) or the end of one after a
    /// dot (`q_proj`, `self_attn.q_proj`).
    List(Vec<String>),
    /// A regular expression that matches a module's whole name.
    Regex(String),
    /// Every linear module but the vocabulary projection.
    AllLinear,
}

impl TargetModules {
    /// Reads the value of a command-line option or a form's field: `all-linear`; a regular expression
    /// when it contains any of `\ ^ $ * + ? ( ) [ ] { } |` (no module name does, while a dot is part of
    /// names); otherwise names with commas between them.
    ///
    /// # Errors
    ///
    /// `Config` for an empty value or name, or a regular expression that does not parse.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case(ALL_LINEAR) {
            return Ok(Self::AllLinear);
        }
        if text.contains(['\\', '^', '$', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|']) {
            full_match("target_modules", text)?;
            return Ok(Self::Regex(text.to_owned()));
        }
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            if name.is_empty() {
                return Err(Error::config(format!(
                    "target_modules \"{text}\" has an empty name; expected names with commas between them, a \
                     regular expression, or all-linear"
                )));
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Ok(Self::List(names))
    }

    pub(super) fn from_string(text: String) -> Self {
        if text.eq_ignore_ascii_case(ALL_LINEAR) { Self::AllLinear } else { Self::Regex(text) }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(names) => names.serialize(serializer),
            Self::Regex(regex) => regex.serialize(serializer),
            Self::AllLinear => ALL_LINEAR.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => Self::from_string(text),
            OneOrMany::Many(names) => Self::List(names),
        })
    }
}

/// `exclude_modules`: modules that get no adapter although `target_modules` names them. In JSON a list
/// or a string, matched as in [`TargetModules`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ExcludeModules {
    /// Whole names, or ends of names after a dot.
    List(Vec<String>),
    /// A regular expression that matches a module's whole name.
    Regex(String),
}

impl<'de> Deserialize<'de> for ExcludeModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => Self::Regex(text),
            OneOrMany::Many(names) => Self::List(names),
        })
    }
}

/// A value that PEFT writes bare or as a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// Whether a list's entry means the module called `name`.
pub(super) fn entry_matches(entry: &str, name: &str) -> bool {
    name == entry || is_suffix(entry, name)
}

/// Whether `name` ends with `.entry`.
pub(super) fn is_suffix(entry: &str, name: &str) -> bool {
    name.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

/// A regular expression of a configuration's field, ready to be asked.
pub(super) struct FieldRegex {
    field: &'static str,
    regex: Regex,
}

impl FieldRegex {
    fn new(field: &'static str, written: &str, pattern: &str) -> Result<Self> {
        let regex = Regex::new(pattern).map_err(|error| {
            Error::config(format!("{field}: \"{written}\" is not a regular expression: {error}"))
        })?;
        Ok(Self { field, regex })
    }

    fn failed(&self, error: &fancy_regex::Error) -> Error {
        Error::config(format!("{}: \"{}\" cannot be matched: {error}", self.field, self.regex.as_str()))
    }

    /// Whether it matches; `Config` when matching takes too many steps.
    pub(super) fn is_match(&self, name: &str) -> Result<bool> {
        self.regex.is_match(name).map_err(|error| self.failed(&error))
    }

    /// What the group `idx` holds, if there is a match.
    fn index(&self, name: &str) -> Result<Option<usize>> {
        let captures = self.regex.captures(name).map_err(|error| self.failed(&error))?;
        Ok(captures.and_then(|captures| captures.name("idx")?.as_str().parse().ok()))
    }
}

/// Python's `re.fullmatch`.
pub(super) fn full_match(field: &'static str, pattern: &str) -> Result<FieldRegex> {
    FieldRegex::new(field, pattern, &format!(r"\A(?:{pattern})\z"))
}

/// A key of `rank_pattern` or `alpha_pattern`: the end of a name after a dot, or all of it. The groups
/// are PEFT's, so that a key's back references count the same.
pub(super) fn pattern_key(field: &'static str, key: &str) -> Result<FieldRegex> {
    FieldRegex::new(field, key, &format!(r"\A(.*\.)?({key})\z"))
}

/// Finds the index of a module's layer as `layers_pattern` says.
pub(super) struct LayerIndex(Vec<FieldRegex>);

impl LayerIndex {
    /// An empty list means any name before the index.
    pub(super) fn new(layers_pattern: &[String]) -> Result<Self> {
        const FIELD: &str = "layers_pattern";
        if layers_pattern.is_empty() {
            let any = r"\A.*?\.[^.]*\.(?P<idx>\d+)\.";
            return Ok(Self(vec![FieldRegex::new(FIELD, any, any)?]));
        }
        let compile = |pattern: &String| {
            FieldRegex::new(FIELD, pattern, &format!(r"\A(?:\A|.*?\.){pattern}\.(?P<idx>\d+)\."))
        };
        Ok(Self(layers_pattern.iter().map(compile).collect::<Result<_>>()?))
    }

    /// The index that the first pattern to match finds.
    pub(super) fn of(&self, name: &str) -> Result<Option<usize>> {
        for regex in &self.0 {
            if let Some(index) = regex.index(name)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}
