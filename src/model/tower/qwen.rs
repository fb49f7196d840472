//! The towers of Qwen2-VL and Qwen2.5-VL: images of any size in patches of two frames, turned by row and column; squares of
//! rows side by side are what a projector of two layers reads.

use std::sync::Arc;

use super::super::config::activation;
use super::super::{
    Activation, Carry, ConfigReader, Error, Frequencies, Gather, Has, NormKind, Op, Result, Role, Scribe,
};
use super::clip::image_token;
use super::pen::{Names, Qkv, Sizes, block, linear, norm};
use super::{Patches, Rows, Stage, Tower, as_stored, root};

const ROOTS: &[&str] = &["visual.", "model.visual."];
const IMAGE_TOKEN: u32 = 151_655;
/// What llama.cpp's converter writes for a size that this tower has not.
const IMAGE: usize = 560;
/// Frames in a patch.
const FRAMES: usize = 2;

/// The tower of a `Qwen2VLForConditionalGeneration`.
pub(in crate::model) fn qwen2(o: &mut ConfigReader, r: &mut ConfigReader, width: usize, has: Has<'_>) -> Result<Tower> {
    let hidden = r.optional_size("embed_dim")?.unwrap_or(1280);
    let ratio = r.optional_size("mlp_ratio")?.unwrap_or(4);
    let ffn = hidden.checked_mul(ratio).ok_or_else(|| r.bad("mlp_ratio", "a small number"))?;
    let out = r.optional_size("hidden_size")?.unwrap_or(3584);
    let c = sizes(r, hidden, ffn, Activation::GeluQuick, NormKind::Layer)?;
    let names = Names {
        norms: ["norm1", "norm2"],
        qkv: Qkv::Fused("attn.qkv"),
        out: "attn.proj",
        ffn: (None, "mlp.fc1", "mlp.fc2"),
    };
    let mut tower = tower(o, r, &c, &names, [width, out], has)?;
    // Its converter takes the width of the language model for that of the feed-forward part.
    tower.keys = c.keys("qwen2vl_merger", IMAGE, out, width);
    tower.unheld = (c.act != Activation::GeluQuick).then_some("its graph has no activation but quick_gelu");
    Ok(tower)
}

/// The tower of a `Qwen2_5_VLForConditionalGeneration`.
pub(in crate::model) fn qwen2_5(
    o: &mut ConfigReader,
    r: &mut ConfigReader,
    width: usize,
    has: Has<'_>,
) -> Result<Tower> {
    let hidden = r.optional_size("hidden_size")?.unwrap_or(3584);
    let ffn = r.optional_size("intermediate_size")?.unwrap_or(3420);
    let out = r.optional_size("out_hidden_size")?.unwrap_or(3584);
    let c = sizes(r, hidden, ffn, Activation::Silu, NormKind::Rms)?;
    let names = Names {
        norms: ["norm1", "norm2"],
        qkv: Qkv::Fused("attn.qkv"),
        out: "attn.proj",
        ffn: (Some("mlp.gate_proj"), "mlp.up_proj", "mlp.down_proj"),
    };
    r.optional_size("window_size")?;
    // Seconds are for videos.
    r.optional_size("tokens_per_second")?;
    let whole = r.sizes("fullatt_block_indexes")?.unwrap_or_else(|| vec![7, 15, 23, 31]);
    let pattern = whole.first().map_or(0, |first| first + 1);
    if pattern == 0 || whole.windows(2).any(|pair| pair[0].checked_add(pattern) != Some(pair[1])) {
        return Err(r.bad("fullatt_block_indexes", "layers at equal distances, the first as far from the beginning"));
    }
    let mut tower = tower(o, r, &c, &names, [width, out], has)?;
    tower.keys = c.keys("qwen2.5vl_merger", IMAGE, c.ffn, width);
    tower.keys.set("clip.use_silu", true);
    tower.keys.set("clip.vision.n_wa_pattern", pattern as u32);
    tower.unheld = (c.act != Activation::Silu).then_some("its graph has no activation but silu");
    tower.lacks = Some("most layers of its tower attend in windows");
    Ok(tower)
}

fn sizes(r: &mut ConfigReader, hidden: usize, ffn: usize, act: Activation, norm: NormKind) -> Result<Sizes> {
    let c = Sizes {
        hidden,
        ffn,
        heads: r.optional_size("num_heads")?.unwrap_or(16),
        layers: r.optional_size("depth")?.unwrap_or(32),
        patch: r.optional_size("patch_size")?.unwrap_or(14),
        act: match r.text("hidden_act")? {
            None => act,
            Some("quick_gelu") => Activation::GeluQuick,
            Some(_) => activation(r, "hidden_act", act)?,
        },
        eps: 1e-6,
        norm,
    };
    // The first releases name it otherwise, beside the key that counts.
    for key in ["in_channels", "in_chans"] {
        if r.optional_size(key)?.is_some_and(|channels| channels != 3) {
            return Err(r.bad(key, "3"));
        }
    }
    for key in ["temporal_patch_size", "spatial_patch_size"] {
        let expected = if key == "temporal_patch_size" { FRAMES } else { c.patch };
        if r.optional_size(key)?.is_some_and(|found| found != expected) {
            return Err(r.bad(key, format!("{expected}")));
        }
    }
    if let Some(mut rope) = r.object("rope_parameters")? {
        let kind = rope.text("rope_type")?.unwrap_or("axial");
        let theta = rope.optional_positive("rope_theta")?.unwrap_or(THETA);
        rope.finish("the tower's rope")?;
        if !["axial", "default"].contains(&kind) || theta != THETA {
            return Err(r.bad("rope_parameters", "an axial rope of base 10000"));
        }
    }
    if c.patch > 1 << 10 {
        return Err(r.bad("patch_size", "at most 1024"));
    }
    c.checked(r, "num_heads", "depth")
}

const THETA: f64 = 10000.0;

fn tower(
    o: &mut ConfigReader,
    r: &mut ConfigReader,
    c: &Sizes,
    names: &Names,
    [width, out]: [usize; 2],
    has: Has<'_>,
) -> Result<Tower> {
    if out != width {
        return Err(Error::BadValue {
            key: "vision_config".to_owned(),
            found: format!("a projector of width {out}"),
            expected: format!("{width}, the width of the language model"),
        });
    }
    let merge = r.optional_size("spatial_merge_size")?.unwrap_or(2);
    if merge != 2 {
        return Err(r.bad("spatial_merge_size", "2"));
    }
    let root = root(has, ROOTS, "patch_embed.proj.weight");
    let pixels = 3 * FRAMES * c.patch * c.patch;
    let first = Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let y = linear(s, x, Role::TokenEmbd, "v.patch_embd", "patch_embed.proj", [c.hidden, pixels], false);
        s.leave(Carry::Hidden, y);
    });
    let rope = Arc::new(axial(c.head()));
    let mut stages = vec![Stage { rows: Rows::Same, width: pixels, layer: first }];
    let blocks = (0..c.layers).map(|i| block(c, names, format!("{root}blocks.{i}."), i, Some(&rope)));
    stages.extend(blocks.map(|layer| Stage { rows: Rows::Same, width: c.hidden, layer }));
    let wide = c.hidden * merge * merge;
    let layer = Scribe::layer(format!("{root}merger."), None, |s| {
        let x = s.carried(Carry::Hidden);
        let x = norm(s, x, c.norm, "v.post_ln", "ln_q", c.hidden, c.eps);
        let x = linear(s, x, Role::FfnUp, "mm.0", "mlp.0", [wide, wide], true);
        let x = s.op(Op::Act(Activation::Gelu, x));
        let y = linear(s, x, Role::FfnDown, "mm.2", "mlp.2", [width, wide], true);
        s.leave(Carry::Hidden, y);
    });
    stages.push(Stage { rows: Rows::Joined(merge * merge), width: wide, layer });

    // A kernel a frame.
    let rows = c.patch;
    let frame = |at: usize, name: &str| {
        let name_in = format!("{root}patch_embed.proj.weight");
        let gather = Gather::Picked { name: name_in, per: FRAMES * rows, from: at * rows, to: (at + 1) * rows };
        as_stored(name, gather, vec![c.hidden, 3, rows, rows], Role::TokenEmbd, false)
    };
    let stored = vec![frame(0, "v.patch_embd.weight"), frame(1, "v.patch_embd.weight.1")];
    Ok(Tower {
        stages,
        patches: Patches::Cut { width: pixels, merge },
        image_token: image_token(o, IMAGE_TOKEN)?,
        lacks: None,
        unheld: None,
        stored,
        keys: planish_formats::gguf::Kv::new(),
    })
}

/// Half of the frequencies turn by a patch's row, the same again by its column.
fn axial(head: usize) -> Frequencies {
    let half = head / 2;
    let one = (0..half / 2).map(|j| {
        let power = f64::from(THETA as f32).powf(f64::from((2 * j) as f32 / half as f32)) as f32;
        1.0 / power
    });
    let one: Vec<f32> = one.collect();
    Frequencies { inverse: [one.clone(), one].concat(), scale: 1.0, long: None }
}
