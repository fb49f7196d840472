//! LLaVA's tower: CLIP's, up to the layer whose rows are taken, and a projector of two layers.

use super::super::config::activation;
use super::super::{Activation, Carry, ConfigReader, Error, Has, NormKind, Op, Result, Role, Scribe};
use super::pen::{Names, Qkv, Sizes, block, linear, norm, param, positions};
use super::{Patches, Rows, Stage, Tower, as_stored, root};
use crate::model::Gather;

const ROOTS: &[&str] =
    &["vision_tower.vision_model.", "vision_tower.", "model.vision_tower.vision_model.", "model.vision_tower."];
const PATCH: &str = "embeddings.patch_embedding";
pub(super) const NAMES: Names = Names {
    norms: ["layer_norm1", "layer_norm2"],
    qkv: Qkv::Split(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    out: "self_attn.out_proj",
    ffn: (None, "mlp.fc1", "mlp.fc2"),
};

/// The tower of a `LlavaForConditionalGeneration`.
pub(in crate::model) fn llava(
    outer: &mut ConfigReader,
    r: &mut ConfigReader,
    width: usize,
    has: Has<'_>,
) -> Result<Tower> {
    if r.text("model_type")?.is_some_and(|kind| kind != "clip_vision_model") {
        return Err(r.bad("model_type", "clip_vision_model"));
    }
    let c = sizes(r, Activation::GeluQuick, 1e-5, 768, 3072)?;
    let image = r.optional_size("image_size")?.unwrap_or(224);
    // Of towers that are trained by themselves.
    r.get("projection_dim");
    r.get("initializer_factor");
    r.get("vocab_size");
    let taken = feature_layer(outer, c.layers)?;
    let without_class = match outer.text("vision_feature_select_strategy")? {
        None | Some("default") => true,
        Some("full") => false,
        Some(_) => return Err(outer.bad("vision_feature_select_strategy", "default or full")),
    };
    let bias = outer.flag("multimodal_projector_bias", true)?;
    let act = activation(outer, "projector_hidden_act", Activation::Gelu)?;
    let token = image_token(outer, 32000)?;

    let root = root(has, ROOTS, "embeddings.class_embedding");
    let side = image / c.patch;
    let pixels = 3 * c.patch * c.patch;
    let first = Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let y = linear(s, x, Role::TokenEmbd, "v.patch_embd", PATCH, [c.hidden, pixels], false);
        s.leave(Carry::Hidden, y);
    });
    let class = Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let x = positions(s, x, "embeddings.position_embedding", [side * side + 1, c.hidden]);
        let y = norm(s, x, NormKind::Layer, "v.pre_ln", "pre_layrnorm", c.hidden, c.eps);
        s.leave(Carry::Hidden, y);
    });
    let token_row = super::super::Param {
        name: "v.class_embd".to_owned(),
        role: Role::TokenEmbd,
        from: Gather::Whole(format!("{root}embeddings.class_embedding")),
        shape: vec![c.hidden],
        pairs: None,
    };
    let mut stages = vec![
        Stage { rows: Rows::Same, width: pixels, layer: first },
        Stage { rows: Rows::After(token_row), width: c.hidden, layer: class },
    ];
    let blocks = (0..taken).map(|i| block(&c, &NAMES, format!("{root}encoder.layers.{i}."), i, None));
    stages.extend(blocks.map(|layer| Stage { rows: Rows::Same, width: c.hidden, layer }));
    let projector = if root.starts_with("model.") { "model.multi_modal_projector." } else { "multi_modal_projector." };
    let layer = Scribe::layer(projector, None, |s| {
        let x = s.carried(Carry::Hidden);
        let x = linear(s, x, Role::FfnUp, "mm.0", "linear_1", [width, c.hidden], bias);
        let x = s.op(Op::Act(act, x));
        let y = linear(s, x, Role::FfnDown, "mm.2", "linear_2", [width, width], bias);
        s.leave(Carry::Hidden, y);
    });
    stages.push(Stage { rows: if without_class { Rows::WithoutFirst } else { Rows::Same }, width: c.hidden, layer });

    let mut keys = c.keys("mlp", image, c.ffn, width);
    keys.set("clip.has_text_encoder", false);
    keys.set("clip.has_llava_projector", true);
    // Of the layers there are only those before the rows are taken.
    keys.set("clip.vision.block_count", taken as u32);
    keys.set("clip.vision.feature_layer", vec![taken as i32]);
    keys.set("clip.use_gelu", c.act == Activation::Gelu);
    let functions = matches!(c.act, Activation::GeluQuick | Activation::Gelu) && act == Activation::Gelu;
    let unheld = if !without_class {
        Some("its graph drops the row of the class token, and this model keeps it")
    } else if !functions {
        Some("its graph has no activation but gelu and, in the tower, quick_gelu")
    } else {
        None
    };
    let shape = vec![c.hidden, 3, c.patch, c.patch];
    let kernel = Gather::Whole(format!("{root}{PATCH}.weight"));
    let stored = vec![as_stored("v.patch_embd.weight", kernel, shape, Role::TokenEmbd, false)];
    let patches = Patches::Square { image, patch: c.patch };
    Ok(Tower { stages, patches, image_token: token, lacks: None, unheld, stored, keys })
}

/// The sizes of CLIP's and SigLIP's towers, under the same keys.
pub(super) fn sizes(r: &mut ConfigReader, act: Activation, eps: f64, hidden: usize, ffn: usize) -> Result<Sizes> {
    let sizes = Sizes {
        hidden: r.optional_size("hidden_size")?.unwrap_or(hidden),
        ffn: r.optional_size("intermediate_size")?.unwrap_or(ffn),
        heads: r.optional_size("num_attention_heads")?.unwrap_or(12),
        layers: r.optional_size("num_hidden_layers")?.unwrap_or(12),
        patch: r
            .optional_size("patch_size")?
            .ok_or(Error::MissingKey { key: "vision_config.patch_size".to_owned() })?,
        act: match r.text("hidden_act")? {
            Some("quick_gelu") => Activation::GeluQuick,
            _ => activation(r, "hidden_act", act)?,
        },
        eps: r.optional_positive("layer_norm_eps")?.unwrap_or(eps),
        norm: NormKind::Layer,
    };
    if r.optional_size("num_channels")?.is_some_and(|channels| channels != 3) {
        return Err(r.bad("num_channels", "3"));
    }
    let image = r.optional_size("image_size")?;
    if image.is_some_and(|image| image % sizes.patch != 0 || image > 1 << 14) || sizes.patch > 1 << 10 {
        return Err(r.bad("image_size", format!("a multiple of patch_size = {}, up to 16384", sizes.patch)));
    }
    sizes.checked(r, "num_attention_heads", "num_hidden_layers")
}

/// How many layers there are up to the rows that are taken: `vision_feature_layer` counts from the embedding, or from the
/// end.
fn feature_layer(outer: &mut ConfigReader, layers: usize) -> Result<usize> {
    const KEY: &str = "vision_feature_layer";
    let at = match outer.get(KEY) {
        None => -2,
        Some(value) => value.as_i64().ok_or_else(|| outer.bad(KEY, "one layer"))?,
    };
    let taken = if at < 0 { layers as i64 + 1 + at } else { at };
    match usize::try_from(taken) {
        Ok(taken) if taken <= layers => Ok(taken),
        _ => Err(outer.bad(KEY, format!("one of {layers} layers"))),
    }
}

/// The id of image tokens under its two names.
pub(super) fn image_token(outer: &mut ConfigReader, usual: u32) -> Result<u32> {
    for key in ["image_token_id", "image_token_index"] {
        if let Some(value) = outer.get(key) {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            return id.ok_or_else(|| outer.bad(key, "the id of a token"));
        }
    }
    Ok(usual)
}

/// A patch embedding with bias, as SigLIP has it.
pub(super) fn patches_with_bias(s: &mut Scribe, c: &Sizes) -> super::super::Value {
    let x = s.carried(Carry::Hidden);
    let w = param(s, Role::TokenEmbd, "v.patch_embd", PATCH, "weight", &[c.hidden, 3 * c.patch * c.patch]);
    let bias = Some(param(s, Role::TokenEmbd, "v.patch_embd", PATCH, "bias", &[c.hidden]));
    s.op(Op::Linear { x, w, bias })
}
