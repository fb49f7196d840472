//! A strict reader of tags: what the report's pages and XML are checked with.

/// One element, with what stands directly in it.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Element {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// All elements in the order of their beginnings; or what is wrong with the text. `void` elements have no end.
pub(crate) fn elements(text: &str, void: &[&str]) -> Result<Vec<Element>, String> {
    let (mut all, mut open): (Vec<Element>, Vec<usize>) = (vec![], vec![]);
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let before = unescaped(&rest[..start])?;
        if let Some(&at) = open.last() {
            all[at].text.push_str(&before);
        } else if !before.trim().is_empty() {
            return Err(format!("text outside: {before:?}"));
        }
        let end = rest.find('>').ok_or("a tag without an end")?;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with(['!', '?']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let at = open.pop().ok_or_else(|| format!("</{name}> of nothing"))?;
            if all[at].name != name {
                return Err(format!("<{}> ends as </{name}>", all[at].name));
            }
            continue;
        }
        let closed = tag.ends_with('/');
        let element = element(tag.trim_end_matches('/'))?;
        let raw = element.name == "style";
        if !closed && !void.contains(&element.name.as_str()) {
            open.push(all.len());
        }
        all.push(element);
        if raw {
            rest = &rest[rest.find("</style>").ok_or("a style without an end")?..];
        }
    }
    match open.last() {
        Some(&at) => Err(format!("<{}> has no end", all[at].name)),
        None if rest.trim().is_empty() => Ok(all),
        None => Err(format!("text outside: {rest:?}")),
    }
}

fn element(tag: &str) -> Result<Element, String> {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("<{tag}> has no name"));
    }
    let mut attributes: Vec<(String, String)> = vec![];
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").ok_or_else(|| format!("<{tag}>: an attribute without quotes"))?;
        let (value, after) = after.split_once('"').ok_or_else(|| format!("<{tag}>: an open quote"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !key.bytes().all(plain) || attributes.iter().any(|(other, _)| other == key) {
            return Err(format!("<{tag}>: the attribute {key:?}"));
        }
        attributes.push((key.to_owned(), unescaped(value)?));
        rest = after.trim_start();
    }
    Ok(Element { name: name.to_owned(), attributes, text: String::new() })
}

/// Text with its entities read; a bare `&` is an error.
fn unescaped(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, after) = part.split_once(';').ok_or_else(|| format!("a bare & before {part:?}"))?;
        let c = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            _ => entity.strip_prefix('#').and_then(|code| char::from_u32(code.parse().ok()?)),
        };
        plain.push(c.ok_or_else(|| format!("the entity {entity:?}"))?);
        plain.push_str(after);
    }
    Ok(plain)
}
