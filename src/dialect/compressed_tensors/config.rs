//! `quantization_config` of compressed-tensors: which modules are in which group, and how a group is quantized.

use regex::Regex;

use crate::dialect::modules::{group_size, pattern};
use crate::dialect::{Error, Result, pass_over};
use crate::model::ConfigReader;

/// How the weights of a group of modules are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Whole numbers in words, or a byte each where `plain`.
    Pack,
    /// One code an element in a tensor of its shape.
    Naive,
    NvFp4,
    MxFp4,
}

/// A group of modules.
pub(super) struct Group {
    targets: Vec<Target>,
    pub format: Format,
    pub bits: usize,
    pub float: bool,
    pub symmetric: bool,
    /// Rows and columns that share a scale; 0 for all of them.
    pub block: [usize; 2],
}

/// What names modules.
enum Target {
    /// A module's name, or the name of its class.
    Name(String),
    Pattern(Regex),
}

/// What the configuration says.
pub(super) struct Settings {
    groups: Vec<Group>,
    ignore: Vec<Target>,
    pub notes: Vec<String>,
}

impl Settings {
    pub(super) fn read(config: &mut ConfigReader<'_>) -> Result<Settings> {
        pass_over(config, &["quant_method", "version", "global_compression_ratio", "quantization_status"]);
        for key in ["sparsity_config", "transform_config"] {
            // Either changes what the packed numbers mean. Empty groups and the format of no sparsity ask for nothing.
            if let Some(object) = config.object(key)? {
                let idle = |value: &serde_json::Value| value.as_object().is_some_and(serde_json::Map::is_empty);
                let none = object.json().get("format").is_some_and(|format| format == "dense");
                if !none && !object.json().values().all(idle) {
                    return Err(Error::Unsupported { what: format!("quantization_config.{key}") });
                }
            }
        }
        let top = config.text("format")?;
        let mut notes = vec![];
        if config.get("kv_cache_scheme").is_some() {
            notes
                .push("runtimes quantize the key-value cache of this checkpoint too; that is left out here".to_owned());
        }
        let mut groups = vec![];
        let mut activations = false;
        if let Some(mut all) = config.object("config_groups")? {
            for key in all.keys() {
                let Some(mut group) = all.object(&key)? else { continue };
                activations |=
                    ["input_activations", "output_activations"].map(|key| group.get(key)).iter().any(Option::is_some);
                groups.extend(Group::read(&mut group, top)?);
                group.finish("compressed-tensors")?;
            }
        }
        if activations {
            notes.push("runtimes quantize the activations of this checkpoint too; that is left out here".to_owned());
        }
        let ignore = config.texts("ignore")?.unwrap_or_default();
        let ignore = ignore.into_iter().map(|text| Target::read("ignore", text)).collect::<Result<_>>()?;
        Ok(Settings { groups, ignore, notes })
    }

    /// The group of a module of which `tensor` is packed. Names decide before patterns, and both before classes.
    pub(super) fn group(&self, tensor: &str, module: &str) -> Result<&Group> {
        let at_odds = |what: &str| Error::AtOdds { tensor: tensor.to_owned(), what: what.to_owned() };
        if self.ignore.iter().any(|target| target.names(module) || target.matches(module)) {
            return Err(at_odds("packed, though quantization_config ignores its module"));
        }
        let by = |test: fn(&Target, &str) -> bool| {
            self.groups.iter().find(|group| group.targets.iter().any(|target| test(target, module)))
        };
        let found = by(Target::names).or_else(|| by(Target::matches)).or_else(|| by(|target, _| target.class()));
        found.ok_or_else(|| at_odds("packed, but no group of quantization_config.config_groups targets its module"))
    }
}

impl Target {
    fn read(key: &str, text: &str) -> Result<Target> {
        match text.strip_prefix("re:") {
            Some(expression) => Ok(Target::Pattern(pattern(key, expression)?)),
            None => Ok(Target::Name(text.to_owned())),
        }
    }

    fn names(&self, module: &str) -> bool {
        matches!(self, Target::Name(name) if name == module)
    }

    fn matches(&self, module: &str) -> bool {
        matches!(self, Target::Pattern(pattern) if pattern.is_match(module))
    }

    /// Whether it is the class of packed modules: what is packed is a linear.
    fn class(&self) -> bool {
        matches!(self, Target::Name(name) if name == "Linear")
    }
}

impl Group {
    /// `None` for a group whose weights stay as they are.
    fn read(group: &mut ConfigReader<'_>, top: Option<&str>) -> Result<Option<Group>> {
        let targets = group.texts("targets")?.unwrap_or_default();
        let targets = targets.into_iter().map(|text| Target::read("targets", text)).collect::<Result<Vec<_>>>()?;
        let own = group.text("format")?;
        let Some(mut weights) = group.object("weights")? else { return Ok(None) };
        pass_over(&mut weights, &["dynamic", "actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype"]);
        let bits = weights.size("num_bits")?;
        let float = match weights.text("type")? {
            None | Some("int") => false,
            Some("float") => true,
            Some(_) => return Err(weights.bad("type", "int or float").into()),
        };
        let symmetric = weights.flag("symmetric", true)?;
        let block = block(&mut weights)?;
        let format = match own.or(top) {
            Some("pack-quantized") if !float && (2..=8).contains(&bits) => Format::Pack,
            Some("int-quantized" | "naive-quantized") if !float && bits == 8 => Format::Naive,
            Some("float-quantized" | "naive-quantized" | "mxfp8-quantized") if float && bits == 8 => Format::Naive,
            Some("nvfp4-pack-quantized") if float && bits == 4 => Format::NvFp4,
            Some("mxfp4-pack-quantized") if float && bits == 4 => Format::MxFp4,
            format => {
                let kind = if float { "float" } else { "int" };
                let what =
                    format!("quantization_config.format {} of {kind} with {bits} bits", format.unwrap_or("(none)"));
                return Err(Error::Unsupported { what });
            }
        };
        if float && !symmetric {
            return Err(weights.bad("symmetric", "true for floats").into());
        }
        weights.finish("compressed-tensors")?;
        Ok(Some(Group { targets, format, bits, float, symmetric, block }))
    }
}

/// What shares a scale.
fn block(weights: &mut ConfigReader<'_>) -> Result<[usize; 2]> {
    let size = group_size(weights, "group_size")?;
    let structure = weights.get("block_structure");
    let strategy = weights.text("strategy")?.unwrap_or(match size {
        None => "tensor",
        Some(0) => "channel",
        Some(_) => "group",
    });
    match (strategy, size) {
        ("tensor", _) => Ok([0, 0]),
        ("channel", _) => Ok([1, 0]),
        ("group" | "tensor_group", Some(size)) => Ok([1, size]),
        ("group" | "tensor_group", None) => Err(weights.bad("group_size", "a number of columns, or -1").into()),
        ("block", _) => {
            let sizes =
                structure.and_then(|value| value.as_array()).map(|list| list.iter().map(serde_json::Value::as_u64));
            match sizes.map(Iterator::collect::<Vec<_>>).as_deref() {
                Some([Some(rows @ 1..), Some(cols @ 1..)]) => Ok([*rows as usize, *cols as usize]),
                _ => Err(weights.bad("block_structure", "two sizes").into()),
            }
        }
        _ => Err(weights.bad("strategy", "tensor, channel, group, block or tensor_group").into()),
    }
}
