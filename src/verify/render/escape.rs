//! Text from files, made harmless in each format and readable to people.

use std::fmt::Write;

/// Control characters as their pictures, and what would not be seen or would reorder text as `<U+200E>`.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push('↵'),
            '\t' => shown.push('⇥'),
            '\0'..='\x1f' => shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\x7f' => shown.push('␡'),
            _ if hidden(c) => {
                // A String takes all that is written.
                let _ = write!(shown, "<U+{:04X}>", c as u32);
            }
            _ => shown.push(c),
        }
    }
    shown
}

/// C1 controls, soft hyphen, marks of direction, joiners, line and paragraph separators, tags, and no characters at all.
fn hidden(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
        || (c as u32) & 0xfffe == 0xfffe
}

/// For the text and the quoted attributes of HTML.
pub(super) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For the text and the quoted attributes of XML 1.0, without the characters that it cannot hold.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // In an attribute a reader would turn them into spaces.
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// For a line or the cell of a table in GitHub's Markdown: no sign of it works.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // GitHub makes links of these by themselves, and a backslash does not stop it.
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '!' | '|' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_hidden() {
        assert_eq!(visible("a\n\t\0\x1b[0m\x7f"), "a↵⇥␀␛[0m␡");
        assert_eq!(visible("a\u{202e}b\u{200b}\u{85}\u{1ffff}"), "a<U+202E>b<U+200B><U+0085><U+1FFFF>");
        assert_eq!(visible("é 字 🦀\u{fffd}"), "é 字 🦀\u{fffd}");
    }

    #[test]
    fn each_format_gets_what_it_can_hold() {
        assert_eq!(html("<a href='x' b=\"y\">&"), "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;");
        assert_eq!(html("\u{200e}"), "&lt;U+200E&gt;");
        assert_eq!(xml("a\0\x1b\u{ffff}<\n]]>"), "a&lt;&#10;]]&gt;");
        assert_eq!(markdown("a|b `c` <img> @all\n- x"), "a\\|b \\`c\\` &lt;img&gt; &#64;all↵- x");
        assert_eq!(markdown("https://x.y"), "https&#58;//x.y");
    }
}
