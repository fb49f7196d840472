//! Recipes: a default type and the rules that depart from it, one TOML file a mix.

use std::sync::LazyLock;

use planish_formats::GgmlType;

use super::RecipeError;
use super::recipe_file::{self, Common};
use super::recipe_rule::Rule;

/// A named mix of types. What the built-in ones decide is what llama.cpp decides for the file type of that name.
///
/// A file of one's own has the form of the built-in ones:
///
/// ```toml
/// name = "mine"
/// about = "4 bits, but never for the last layers"
/// file_type = 15                              # the number in general.file_type: that of the nearest built-in recipe
/// default = "Q4_K"
/// use = ["odd-output", "output", "attention"] # sets of rules from common.toml; they stand before the file's own
/// needs_importance = []                       # types to refuse without importance, beside those that always are
///
/// [[rule]]                                    # the first rule that matches decides; all of its conditions must hold
/// tensor = "attn_v|ffn_down"                  # classes (`Class`), or "any"
/// layers = "first 2 | last 1/8"               # also "more_bits"; counted within the class
/// type = "Q8_0"
///
/// [[rule]]
/// name = '^blk\.[0-3]\.attn'                  # or, and: a regex over names
/// gqa_at_least = 4
/// type = "Q6_K"
///
/// [[lift]]                                    # applied to what the rules decided
/// tensor = "attn_output"
/// from = ["Q4_K"]
/// type = "Q5_K"
/// ```
///
/// Further conditions: `not_layers`, `index` ("tensor": count tensors even where there are experts), `experts`,
/// `experts_at_least`, `block_count`, `grouped` (fewer key-value heads than heads), `arch`, `not_arch`, `importance`
/// (given or not), `fits` (rows are whole blocks of the default), `stacked` (a stack of matrices, as experts are).
#[derive(Clone, Debug)]
pub struct Recipe {
    /// In lower case: `q4_k_m`.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// For people, in a few words.
    pub about: String,
    /// The number in `general.file_type`.
    pub file_type: u32,
    /// The type of every quantized tensor that no rule is for.
    pub default: GgmlType,
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// Applied to what the rules decided: the first that matches takes its place.
    pub lifts: Vec<Rule>,
    /// Types that this mix takes only with importance, beside those that no mix takes without.
    pub needs_importance: Vec<GgmlType>,
}

impl Recipe {
    /// Reads a recipe file. `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Recipe, RecipeError> {
        recipe_file::parse(text, origin, &COMMON)
    }
}

macro_rules! embedded {
    ($($name:literal)*) => {
        /// Name and text of every built-in recipe.
        static EMBEDDED: &[(&str, &str)] = &[$(($name, include_str!(concat!("recipes/", $name, ".toml")))),*];
    };
}
embedded! {
    "f32" "f16" "bf16"
    "q8_0" "q6_k" "q5_k_m" "q5_k_s" "q5_1" "q5_0" "q4_k_m" "q4_k_s" "q4_1" "q4_0"
    "q3_k_l" "q3_k_m" "q3_k_s" "q2_k" "q2_k_s" "q2_0" "q1_0"
    "iq4_nl" "iq4_xs" "iq3_m" "iq3_s" "iq3_xs" "iq3_xxs" "iq2_m" "iq2_s" "iq2_xs" "iq2_xxs" "iq1_m" "iq1_s"
    "tq2_0" "tq1_0" "mxfp4_moe" "nvfp4"
}

/// What all recipes share.
pub(super) static COMMON: LazyLock<Common> = LazyLock::new(|| {
    Common::parse(include_str!("recipes/common.toml"), "common.toml").unwrap_or_else(|e| unreachable!("built in: {e}"))
});

/// The built-in recipes: one for every file type of llama.cpp.
pub static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    let read = |&(name, text): &(&str, &str)| {
        Recipe::parse(text, &format!("{name}.toml")).unwrap_or_else(|e| unreachable!("built in: {e}"))
    };
    EMBEDDED.iter().map(read).collect()
});

/// The built-in recipe of this name, alias or file type number, in any case.
pub fn recipe(name: &str) -> Option<Recipe> {
    let number = name.parse::<u32>().ok();
    RECIPES
        .iter()
        .find(|r| {
            number == Some(r.file_type)
                || [&r.name].into_iter().chain(&r.aliases).any(|known| known.eq_ignore_ascii_case(name))
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_registered() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/recipes");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder of recipes")
            .map(|e| e.expect("an entry").file_name().into_string().expect("a UTF-8 name"))
            .filter(|name| name != "common.toml")
            .collect();
        let registered: BTreeSet<String> = RECIPES.iter().map(|r| format!("{}.toml", r.name)).collect();
        assert_eq!(files, registered);
        assert_eq!(EMBEDDED.len(), RECIPES.len());
    }

    #[test]
    fn names_and_numbers_are_unique() {
        let mut names: Vec<&String> = RECIPES.iter().flat_map(|r| [&r.name].into_iter().chain(&r.aliases)).collect();
        let mut numbers: Vec<u32> = RECIPES.iter().map(|r| r.file_type).collect();
        let (all_names, all_numbers) = (names.len(), numbers.len());
        names.sort();
        names.dedup();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((names.len(), numbers.len()), (all_names, all_numbers));
        assert!(RECIPES.iter().all(|r| !r.about.is_empty() && r.name == r.name.to_ascii_lowercase()));
    }

    #[test]
    fn found_by_any_name() {
        for (given, name) in
            [("q4_k_m", "q4_k_m"), ("Q4_K_M", "q4_k_m"), ("Q4_K", "q4_k_m"), ("15", "q4_k_m"), ("q3_k", "q3_k_m")]
        {
            assert_eq!(recipe(given).map(|r| r.name).as_deref(), Some(name), "{given}");
        }
        assert_eq!(recipe("q5_k").map(|r| r.file_type), Some(17));
        assert_eq!(recipe("0").map(|r| r.default), Some(GgmlType::F32));
        assert!(recipe("q4").is_none() && recipe("33").is_none() && recipe("").is_none() && recipe("common").is_none());
    }
}
