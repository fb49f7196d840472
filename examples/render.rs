//! dev
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let r: planish::verify::Report = serde_json::from_str(&std::fs::read_to_string(&a[1]).unwrap()).unwrap();
    std::fs::write(&a[2], planish::verify::render::html(&r)).unwrap();
    std::fs::write(format!("{}.xml", a[2]), planish::verify::render::junit(&r)).unwrap();
    std::fs::write(format!("{}.md", a[2]), planish::verify::render::markdown(&r)).unwrap();
}
