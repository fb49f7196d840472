//! What every accepted file promises.

use std::collections::HashSet;

use planish_formats::Contents;

/// One range a tensor, inside the file, as long as the tensor says; no name twice.
pub fn views(bytes: &[u8], contents: &Contents) {
    assert_eq!(contents.infos.len(), contents.ranges.len());
    let mut names = HashSet::new();
    for (info, range) in contents.infos.iter().zip(&contents.ranges) {
        let view = &bytes[range.clone()];
        assert_eq!(info.bytes(), Some(view.len()), "{info:?}");
        assert!(names.insert(&info.name), "{info:?}");
        assert_eq!(info.elements(), info.rows() * info.cols(), "{info:?}");
    }
}
