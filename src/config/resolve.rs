//! Which modules of a model a [`LoraConfig`] adapts, with what rank and scale.

use std::collections::BTreeSet;

use super::matching::{
    ExcludeModules, FieldRegex, LayerIndex, TargetModules, entry_matches, full_match, is_suffix, pattern_key,
};
use super::{LM_HEAD, LoraConfig, ModelConfig, ModuleId, Projection};
use crate::error::{Error, Result};

/// A module that gets an adapter: y = W·x + scale·B·(A·x).
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptedModule {
    /// Which module.
    pub id: ModuleId,
    /// Rank: `A` is `[r, in_features]`, `B` is `[out_features, r]`.
    pub r: usize,
    /// `scale·r`: lora_alpha, or lora_alpha·√r with `use_rslora`.
    pub alpha: f64,
    /// lora_alpha/r, or lora_alpha/√r with `use_rslora`.
    pub scale: f32,
    /// Columns of W.
    pub in_features: usize,
    /// Rows of W.
    pub out_features: usize,
}

impl LoraConfig {
    /// The modules of `model` that get an adapter, ordered by layer, then projection.
    ///
    /// # Errors
    ///
    /// `Config` for values that cannot be used, for a name, key or layer that means no module of this
    /// model (PEFT fails only when nothing at all is left), and when no module is left; `Unsupported`
    /// when a target is the embedding table or the vocabulary projection.
    pub fn resolve(&self, model: &ModelConfig) -> Result<Vec<AdaptedModule>> {
        self.validate()?;
        let ids = model.linear_modules();
        let names: Vec<String> = ids.iter().map(ModuleId::name).collect();
        self.check_layers(model)?;
        let matcher = Matcher::new(self)?;
        matcher.check_targets(model, &names)?;
        let rules = self.rank_rules()?;
        rules.check_keys(model, &names)?;

        let mut modules = Vec::new();
        for (&id, name) in ids.iter().zip(&names) {
            if !matcher.is_adapted(name)? {
                continue;
            }
            let (r, alpha) = rules.get(name)?;
            let root = (r as f64).sqrt();
            let (alpha, scale) =
                if self.use_rslora { (alpha * root, alpha / root) } else { (alpha, alpha / r as f64) };
            let (out_features, in_features) = model.projection_shape(id.projection);
            modules.push(AdaptedModule { id, r, alpha, scale: scale as f32, in_features, out_features });
        }
        if modules.is_empty() {
            return Err(Error::config(
                "no module is left to train: check target_modules, exclude_modules and layers_to_transform",
            ));
        }
        Ok(modules)
    }

    /// What is allowed and probably not meant, a sentence each. Empty when [`LoraConfig::resolve`] fails.
    pub fn warnings(&self, model: &ModelConfig) -> Vec<String> {
        let Ok(modules) = self.resolve(model) else { return Vec::new() };
        let mut warnings = Vec::new();
        let ranks: BTreeSet<(Projection, usize)> =
            modules.iter().map(|module| (module.id.projection, module.r)).collect();
        for (projection, r) in ranks {
            let (out_features, in_features) = model.projection_shape(projection);
            let side = out_features.min(in_features);
            if r >= side {
                warnings.push(format!(
                    "rank {r} is not less than the smaller side of {} ({out_features} x {in_features}): such an \
                     adapter has {} parameters where the matrix itself has {}, and can express no more than it",
                    model.family.label(projection),
                    r as u64 * (in_features as u64 + out_features as u64),
                    out_features as u64 * in_features as u64,
                ));
            }
        }
        if modules.iter().all(|module| module.scale == 0.0) {
            warnings.push("lora_alpha is 0: the adapter has no effect and nothing is learned".to_owned());
        }
        if let Ok(matcher) = Matcher::new(self)
            && self.exclude_modules.is_some()
            && !model.linear_modules().iter().any(|id| matcher.is_excluded(&id.name()).unwrap_or(true))
        {
            warnings.push("exclude_modules excludes no module".to_owned());
        }
        warnings
    }

    fn check_layers(&self, model: &ModelConfig) -> Result<()> {
        let layers = model.num_hidden_layers;
        match self.layers_to_transform.iter().flatten().find(|&&layer| layer >= layers) {
            None => Ok(()),
            Some(layer) => Err(Error::config(format!(
                "layers_to_transform names layer {layer}; the model has layers 0 to {}",
                layers - 1
            ))),
        }
    }

    /// The ranks and alphas by module name.
    pub(crate) fn rank_rules(&self) -> Result<RankRules> {
        fn rules<T: Copy>(
            field: &'static str,
            pattern: &std::collections::BTreeMap<String, T>,
        ) -> Result<Vec<Rule<T>>> {
            let rule = |(key, &value): (&String, &T)| {
                Ok(Rule { field, key: key.clone(), regex: pattern_key(field, key)?, value })
            };
            pattern.iter().map(rule).collect()
        }
        Ok(RankRules {
            r: self.r,
            alpha: self.lora_alpha,
            ranks: rules("rank_pattern", &self.rank_pattern)?,
            alphas: rules("alpha_pattern", &self.alpha_pattern)?,
        })
    }
}

struct Rule<T> {
    field: &'static str,
    key: String,
    regex: FieldRegex,
    value: T,
}

/// `r` and `lora_alpha` with the exceptions of `rank_pattern` and `alpha_pattern`.
pub(crate) struct RankRules {
    r: usize,
    alpha: f64,
    ranks: Vec<Rule<usize>>,
    alphas: Vec<Rule<f64>>,
}

impl RankRules {
    /// Rank and alpha of the module called `name`: the first key that matches decides.
    pub(crate) fn get(&self, name: &str) -> Result<(usize, f64)> {
        fn first<T: Copy>(rules: &[Rule<T>], name: &str, otherwise: T) -> Result<T> {
            for rule in rules {
                if rule.regex.is_match(name)? {
                    return Ok(rule.value);
                }
            }
            Ok(otherwise)
        }
        Ok((first(&self.ranks, name, self.r)?, first(&self.alphas, name, self.alpha)?))
    }

    fn check_keys(&self, model: &ModelConfig, names: &[String]) -> Result<()> {
        fn check<T>(rules: &[Rule<T>], model: &ModelConfig, names: &[String]) -> Result<()> {
            for rule in rules {
                let mut found = false;
                for name in names {
                    found = found || rule.regex.is_match(name)?;
                }
                if !found {
                    return Err(Error::config(format!(
                        "{}: \"{}\" matches no linear module of the model; its modules are {}",
                        rule.field,
                        rule.key,
                        valid_names(model)
                    )));
                }
            }
            Ok(())
        }
        check(&self.ranks, model, names)?;
        check(&self.alphas, model, names)
    }
}

/// `target_modules`, `exclude_modules` and `layers_to_transform`, ready to be asked.
struct Matcher<'a> {
    config: &'a LoraConfig,
    target: Option<FieldRegex>,
    exclude: Option<FieldRegex>,
    layer_index: LayerIndex,
}

impl<'a> Matcher<'a> {
    fn new(config: &'a LoraConfig) -> Result<Self> {
        let target = match &config.target_modules {
            TargetModules::Regex(regex) => Some(full_match("target_modules", regex)?),
            TargetModules::List(_) | TargetModules::AllLinear => None,
        };
        let exclude = match &config.exclude_modules {
            Some(ExcludeModules::Regex(regex)) if !regex.is_empty() => {
                Some(full_match("exclude_modules", regex)?)
            }
            _ => None,
        };
        let layer_index = LayerIndex::new(config.layers_pattern.as_deref().unwrap_or_default())?;
        Ok(Self { config, target, exclude, layer_index })
    }

    fn is_excluded(&self, name: &str) -> Result<bool> {
        match (&self.exclude, &self.config.exclude_modules) {
            (Some(regex), _) => regex.is_match(name),
            (None, Some(ExcludeModules::List(list))) => {
                Ok(list.iter().any(|entry| entry_matches(entry, name)))
            }
            (None, _) => Ok(false),
        }
    }

    /// Whether the linear module called `name` gets an adapter.
    fn is_adapted(&self, name: &str) -> Result<bool> {
        if self.is_excluded(name)? {
            return Ok(false);
        }
        match (&self.target, &self.config.target_modules) {
            (Some(regex), _) => regex.is_match(name),
            (None, TargetModules::List(list)) if list.iter().any(|entry| entry == name) => Ok(true),
            (None, TargetModules::List(list)) => {
                Ok(list.iter().any(|entry| is_suffix(entry, name)) && self.is_in_layers(name)?)
            }
            (None, _) => Ok(true),
        }
    }

    fn is_in_layers(&self, name: &str) -> Result<bool> {
        match self.config.layers_to_transform.as_deref() {
            None | Some([]) => Ok(true),
            Some(layers) => Ok(self.layer_index.of(name)?.is_some_and(|layer| layers.contains(&layer))),
        }
    }

    /// Every target must mean linear modules, and only those.
    fn check_targets(&self, model: &ModelConfig, names: &[String]) -> Result<()> {
        let others = other_modules(model);
        match (&self.target, &self.config.target_modules) {
            (Some(regex), TargetModules::Regex(written)) => {
                for other in &others {
                    if regex.is_match(other)? && !self.is_excluded(other)? {
                        return Err(refuse_other(model, written, other));
                    }
                }
            }
            (None, TargetModules::List(list)) => {
                for entry in list {
                    if let Some(other) = others.iter().find(|other| entry_matches(entry, other)) {
                        return Err(refuse_other(model, entry, other));
                    }
                    if !names.iter().any(|name| entry_matches(entry, name)) {
                        return Err(Error::config(format!(
                            "target_modules: \"{entry}\" is no linear module of the model; its modules are {}",
                            valid_names(model)
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The modules of a model that are no linear module of a layer.
fn other_modules(model: &ModelConfig) -> Vec<String> {
    let family = model.family;
    let (outside, inside) = family.other_modules;
    let norms = family.norms.iter().map(|(_, name)| format!(".{name}"));
    let inside: Vec<String> = inside.iter().map(|&path| path.to_owned()).chain(norms).collect();
    let layers = family.layers();
    let in_layers = (0..model.num_hidden_layers)
        .flat_map(|layer| inside.iter().map(move |path| format!("{layers}.{layer}{path}")));
    outside.iter().map(|&name| name.to_owned()).chain(in_layers).collect()
}

fn refuse_other(model: &ModelConfig, target: &str, module: &str) -> Error {
    let is_table = [LM_HEAD.to_owned(), model.embed_tokens_name()]
        .into_iter()
        .chain(model.embed_positions_name())
        .any(|name| name.strip_suffix(".weight") == Some(module));
    if is_table {
        return Error::unsupported(format!(
            "target_modules: \"{target}\" matches {module}; adapters go on the linear modules of the layers only: {}",
            valid_names(model)
        ));
    }
    Error::config(format!(
        "target_modules: \"{target}\" matches {module}, which is no linear module; name {}",
        valid_names(model)
    ))
}

fn valid_names(model: &ModelConfig) -> String {
    model.family.module_names().join(", ")
}
