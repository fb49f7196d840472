//! Names of files that belong together: `NAME-00001-of-00003.EXT`.

use std::path::{Path, PathBuf};

/// `dir/NAME.EXT` as the name of part `no` (from 0) of `count`.
pub(crate) fn name(whole: &Path, no: usize, count: usize) -> PathBuf {
    let stem = whole.file_stem().unwrap_or_default().to_string_lossy();
    let extension = whole.extension().unwrap_or_default().to_string_lossy();
    whole.with_file_name(format!("{stem}-{:05}-of-{count:05}.{extension}", no + 1))
}

/// The other way: `dir/NAME.EXT`, the number of the part (from 0) and of all parts.
pub(crate) fn parse(part: &Path) -> Option<(PathBuf, usize, usize)> {
    let (stem, extension) = (part.file_stem()?.to_str()?, part.extension()?.to_str()?);
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, no) = rest.rsplit_once('-')?;
    let number = |digits: &str| (digits.len() >= 5).then(|| digits.parse::<u16>().ok()).flatten().map(usize::from);
    let (no, count) = (number(no)?.checked_sub(1)?, number(count)?);
    (no < count).then(|| (part.with_file_name(format!("{stem}.{extension}")), no, count))
}
