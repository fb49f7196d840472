//! Gemma 3's tower: SigLIP's, without a class token; squares of its rows are averaged, normed and projected.

use super::super::{Activation, Carry, ConfigReader, Gather, Has, NormKind, Op, Param, Result, Role, Scribe};
use super::clip::{NAMES, image_token, patches_with_bias, sizes};
use super::pen::{block, norm, positions};
use super::{Patches, Rows, Stage, Tower, as_stored, root};

const ROOTS: &[&str] =
    &["vision_tower.vision_model.", "vision_tower.", "model.vision_tower.vision_model.", "model.vision_tower."];

/// The projection, which GGUF has as the checkpoint does: `[in, out]`.
const INPUT: &str = "mm.input_projection.weight";
/// Patches a side of a square that llama.cpp takes for granted.
const SIDE: usize = 4;

/// The tower of a `Gemma3ForConditionalGeneration`.
pub(in crate::model) fn gemma3(
    outer: &mut ConfigReader,
    r: &mut ConfigReader,
    width: usize,
    has: Has<'_>,
) -> Result<Tower> {
    if r.text("model_type")?.is_some_and(|kind| kind != "siglip_vision_model") {
        return Err(r.bad("model_type", "siglip_vision_model"));
    }
    let c = sizes(r, Activation::GeluTanh, 1e-6, 768, 3072)?;
    let image = r.optional_size("image_size")?.unwrap_or(224);
    // A head that pools, which Gemma does not have.
    r.get("vision_use_head");
    let tokens = outer.optional_size("mm_tokens_per_image")?.unwrap_or(256);
    let (patches, rows) = (image / c.patch, tokens.isqrt());
    if rows * rows != tokens || patches % rows != 0 {
        return Err(outer.bad("mm_tokens_per_image", format!("a square whose side divides {patches}")));
    }
    let side = patches / rows;
    let token = image_token(outer, 262_144)?;
    let root = root(has, ROOTS, "embeddings.patch_embedding.weight");

    let first = Scribe::layer(root, None, |s| {
        let x = patches_with_bias(s, &c);
        let y = positions(s, x, "embeddings.position_embedding", [patches * patches, c.hidden]);
        s.leave(Carry::Hidden, y);
    });
    let mut stages = vec![Stage { rows: Rows::Same, width: 3 * c.patch * c.patch, layer: first }];
    let blocks = (0..c.layers).map(|i| block(&c, &NAMES, format!("{root}encoder.layers.{i}."), i, None));
    stages.extend(blocks.map(|layer| Stage { rows: Rows::Same, width: c.hidden, layer }));
    let layer = Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let y = norm(s, x, NormKind::Layer, "v.post_ln", "post_layernorm", c.hidden, c.eps);
        s.leave(Carry::Hidden, y);
    });
    stages.push(Stage { rows: Rows::Same, width: c.hidden, layer });
    let projector = if root.starts_with("model.") { "model.multi_modal_projector." } else { "multi_modal_projector." };
    let matrix = format!("{projector}mm_input_projection_weight");
    let layer = Scribe::layer(projector, None, |s| {
        let x = s.carried(Carry::Hidden);
        let from = Gather::Shifted { name: s.name("mm_soft_emb_norm.weight"), by: 1.0 };
        let name = "mm.soft_emb_norm.weight".to_owned();
        let w = Param { name, role: Role::AttnNorm, from, shape: vec![c.hidden], pairs: None };
        let x = s.op(Op::Norm { kind: NormKind::Rms, x, w, bias: None, eps: c.eps as f32 });
        let w = Param {
            name: INPUT.to_owned(),
            role: Role::Output,
            from: Gather::Transposed(matrix.clone()),
            shape: vec![width, c.hidden],
            pairs: None,
        };
        let y = s.op(Op::Linear { x, w, bias: None });
        s.leave(Carry::Hidden, y);
    });
    stages.push(Stage { rows: Rows::Means(side), width: c.hidden, layer });

    let mut keys = c.keys("gemma3", image, c.ffn, width);
    keys.set("clip.use_gelu", true);
    if side != SIDE {
        keys.set("clip.vision.projector.scale_factor", side as u32);
    }
    let kernel = Gather::Whole(format!("{root}embeddings.patch_embedding.weight"));
    let stored = vec![
        // Its converter keeps all embeddings of this tower in F32, and the projection in F16.
        as_stored("v.patch_embd.weight", kernel, vec![c.hidden, 3, c.patch, c.patch], Role::TokenEmbd, true),
        as_stored(INPUT, Gather::Whole(matrix), vec![c.hidden, width], Role::Output, false),
    ];
    let unheld = (c.act != Activation::GeluTanh).then_some("its graph has no activation but gelu_pytorch_tanh");
    Ok(Tower {
        stages,
        patches: Patches::Square { image, patch: c.patch },
        image_token: token,
        lacks: Some("tokens of one image see each other in the language model, those after them included"),
        unheld,
        stored,
        keys,
    })
}
