//! What would be done to each tensor. Reads no weight, but for the few F32 ones of a GGUF that becomes a folder again.

mod adapter;
mod error;
mod fallback;
mod importance;
mod job;
mod mix;
mod mmproj;
mod outline;
mod quantization;
mod recipe;
mod recipe_error;
mod recipe_file;
mod recipe_rule;
mod restore;

pub use error::{Error, Result};
pub use fallback::{fallback, fit};
pub use importance::{Coverage, Importance, Uncovered};
pub use job::{Job, Planned, Request, default_output};
pub use mix::{Candidate, Choice, Facts, Overrides, Why, choose, needs_importance, output_order, require_importance};
pub use outline::Outline;
pub use quantization::{Becomes, Converted, Quantization, default_packed_folder};
pub use recipe::{RECIPES, Recipe, recipe};
pub use recipe_error::RecipeError;
pub use recipe_rule::{Class, Rule};
pub use restore::{Restoration, default_folder};
