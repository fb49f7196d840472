//! Images: what towers and their projectors make of them, and logits of text with images, against transformers in f32.

mod support;

use std::path::{Path, PathBuf};

use planish::checkpoint::read_json;
use planish::dialect::Tensors;
use planish::model::{Config, Model, Tower, architecture, multimodal};
use planish::run::executor::{Executor, Image, Places, Settings, see};
use planish_formats::Source;
use planish_kernels::Isa;

const TOLERANCE: f32 = 1e-3;

struct Case {
    name: String,
    source: Tensors,
    model: Model,
    config: Config,
    tower: Tower,
    seen: Box<dyn Source>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden-logits");
    let folders = std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("images.safetensors").is_file()).collect();
    folders.sort();
    assert!(folders.len() >= 6, "only {} cases", folders.len());
    folders.iter().map(|folder| case(folder)).collect()
}

fn case(folder: &Path) -> Case {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let (source, model) = support::open(folder);
    let json = read_json(&folder.join("config.json")).expect("config.json");
    let config = architecture(&json).expect("an architecture").config(&json).expect("a configuration");
    let class = multimodal(&json).expect("a class with a tower");
    let tower = class.tower(&json, |tensor| source.info(tensor).is_some()).expect("a tower");
    let seen = planish_formats::open(&folder.join("images.safetensors")).expect("images");
    Case { name, source, model, config, tower, seen }
}

impl Case {
    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = self.seen.view(name).expect(name).bytes;
        bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
    }

    fn whole(&self, name: &str) -> Vec<u32> {
        let bytes = self.seen.view(name).expect(name).bytes;
        bytes.as_chunks::<8>().0.iter().map(|x| i64::from_le_bytes(*x) as u32).collect()
    }

    /// Rows and columns of patches of each image, if it has its own.
    fn grids(&self) -> Vec<[usize; 2]> {
        let grid = if self.seen.info("grid").is_some() { self.whole("grid") } else { vec![] };
        grid.as_chunks::<3>().0.iter().map(|[_, rows, columns]| [*rows as usize, *columns as usize]).collect()
    }

    /// The rows of all images.
    fn features(&self, settings: &Settings) -> Vec<f32> {
        let (pixels, grids) = (self.floats("pixel_values"), self.grids());
        let mut rest = &pixels[..];
        let images: Vec<Image<'_>> = if grids.is_empty() {
            pixels.chunks(pixels.len() / 2).map(Image::Pixels).collect()
        } else {
            let width = self.tower.patches.width();
            let mut take = |grid: &[usize; 2]| {
                let (of, left) = rest.split_at(grid[0] * grid[1] * width);
                rest = left;
                Image::Patches { of, grid: *grid }
            };
            grids.iter().map(&mut take).collect()
        };
        see(&self.tower, &self.source, &images, settings).expect("rows").concat()
    }

    /// Logits of the text with these rows in it.
    fn logits(&self, features: &[f32]) -> Vec<f32> {
        let ids = self.whole("ids");
        let mut run = Executor::new(&self.model, &self.source, &ids, ids.len(), Settings::default()).expect("a run");
        if let Some(sections) = self.config.sections {
            let squares: Vec<[usize; 2]> = self.grids().iter().map(|[rows, columns]| [rows / 2, columns / 2]).collect();
            let places = Places::beside(&ids, self.tower.image_token, &squares, sections).expect("places");
            let want = self.whole("positions");
            let got: Vec<u32> = (0..3).flat_map(|i| places.of.iter().map(move |place| place[i])).collect();
            assert_eq!(got, want, "{}", self.name);
            run.place(places).expect("one sequence");
        }
        run.step().expect("an embedding");
        run.splice(self.tower.image_token, features).expect("as many rows as tokens");
        while run.step().expect("a step").is_some() {}
        let rows: Vec<usize> = (0..ids.len()).collect();
        let head = run.head(&rows).expect("a head").expect("a causal model");
        let tile = head.tile(0..head.vocab(), None).expect("the whole vocabulary");
        let mut logits = vec![];
        head.logits(&tile, 0..ids.len(), &mut logits).expect("logits");
        logits
    }
}

fn far(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let far = |far: f32, off: f32| if off > far || off.is_nan() { off } else { far };
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, far)
}

#[test]
fn towers_make_the_rows_of_transformers() {
    let mut seen = 0;
    for case in cases() {
        // Windows are not run.
        if case.name == "qwen25vl" {
            assert!(case.tower.lacks.is_some());
            continue;
        }
        let features = case.features(&Settings::default());
        let off = far(&features, &case.floats("features"));
        println!("{:16} {off:.2e}", case.name);
        assert!(off <= TOLERANCE, "{}: off by {off}", case.name);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let again = case.features(&Settings { isa, ..Settings::default() });
            assert_eq!(again, features, "{} on {}", case.name, isa.name());
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen}");
}

#[test]
fn logits_beside_images_are_those_of_transformers() {
    let mut seen = 0;
    for case in cases().into_iter().filter(|case| case.tower.lacks.is_none()) {
        let off = far(&case.logits(&case.features(&Settings::default())), &case.floats("logits"));
        println!("{:16} {off:.2e}", case.name);
        assert!(off <= TOLERANCE, "{}: off by {off}", case.name);
        seen += 1;
    }
    assert!(seen >= 4, "only {seen}");
}

#[test]
fn the_language_model_of_transformers_reads_their_rows_at_the_same_places() {
    let case = cases().into_iter().find(|case| case.name == "qwen25vl").expect("a case");
    let off = far(&case.logits(&case.floats("features")), &case.floats("logits"));
    assert!(off <= TOLERANCE, "off by {off}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let case = cases().into_iter().find(|case| case.name == "llava").expect("a case");
    let pixels = [0.0; 5];
    assert!(see(&case.tower, &case.source, &[Image::Pixels(&pixels)], &Settings::default()).is_err());
    assert!(Places::beside(&[1, 95, 95, 2], 95, &[[1, 3]], [2, 3, 3]).is_err());
    assert!(Places::beside(&[1, 95, 95, 2], 95, &[], [2, 3, 3]).is_err());
    assert!(Places::beside(&[1, 2], 95, &[[1, 1]], [2, 3, 3]).is_err());
    let ids = case.whole("ids");
    let mut run = Executor::new(&case.model, &case.source, &ids, ids.len(), Settings::default()).expect("a run");
    run.step().expect("an embedding");
    assert!(run.splice(95, &[0.0; 64]).is_err());
}
