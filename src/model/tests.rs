#[test]
fn nothing() {
    assert_eq!(super::edits("kitten", "sitting"), 3);
}
