//! Web text to plain text: percent escapes, tags, entities.

/// Entities that occur in captions. All of HTML's 2231 names would be 30 KB for mathematics.
const ENTITIES: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", "\u{a0}"),
    ("copy", "©"),
    ("reg", "®"),
    ("trade", "™"),
    ("hellip", "…"),
    ("mdash", "—"),
    ("ndash", "–"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("bull", "•"),
    ("middot", "·"),
    ("deg", "°"),
    ("times", "×"),
    ("euro", "€"),
    ("pound", "£"),
    ("cent", "¢"),
    ("yen", "¥"),
    ("sect", "§"),
    ("para", "¶"),
    ("plusmn", "±"),
    ("frac12", "½"),
    ("frac14", "¼"),
    ("frac34", "¾"),
    ("agrave", "à"),
    ("aacute", "á"),
    ("acirc", "â"),
    ("atilde", "ã"),
    ("auml", "ä"),
    ("aring", "å"),
    ("aelig", "æ"),
    ("ccedil", "ç"),
    ("egrave", "è"),
    ("eacute", "é"),
    ("ecirc", "ê"),
    ("euml", "ë"),
    ("igrave", "ì"),
    ("iacute", "í"),
    ("icirc", "î"),
    ("iuml", "ï"),
    ("ntilde", "ñ"),
    ("ograve", "ò"),
    ("oacute", "ó"),
    ("ocirc", "ô"),
    ("otilde", "õ"),
    ("ouml", "ö"),
    ("oslash", "ø"),
    ("ugrave", "ù"),
    ("uacute", "ú"),
    ("ucirc", "û"),
    ("uuml", "ü"),
    ("szlig", "ß"),
];

/// Names that HTML knows without a semicolon, too.
const BARE: &[&str] = &["amp", "lt", "gt", "quot", "nbsp", "copy", "reg"];

/// Undoes `%41` and `+` of addresses. Bytes that are no UTF-8 become replacement characters.
pub(super) fn unquote_plus(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_hex = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = digits.filter(is_hex).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                plain.push(code);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The text of a piece of HTML: no tags, comments, scripts or styles; entities as characters.
pub(super) fn text(html: &str) -> String {
    let mut plain = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        plain.push_str(&unescape(&rest[..open]));
        let tag = &rest[open..];
        let next = tag.chars().nth(1);
        let is_tag = next.is_some_and(|next| next.is_ascii_alphabetic() || "/!?".contains(next));
        let end = if tag.starts_with("<!--") {
            tag.find("-->").map(|at| at + 3)
        } else {
            tag.find('>').map(|at| at + 1)
        };
        match end.filter(|_| is_tag) {
            Some(end) => {
                rest = &tag[end..];
                for (name, close) in [("<script", "</script"), ("<style", "</style")] {
                    if tag.starts_with(name) {
                        rest = &rest[rest.find(close).unwrap_or(rest.len())..];
                    }
                }
            }
            None => {
                plain.push('<');
                rest = &tag[1..];
            }
        }
    }
    plain.push_str(&unescape(rest));
    plain
}

/// Entities as characters.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match entity(rest) {
            Some((value, used)) => {
                plain.push_str(&value);
                rest = &rest[used..];
            }
            None => plain.push('&'),
        }
    }
    plain.push_str(rest);
    plain
}

/// What stands after an ampersand, and how many bytes of it are used.
fn entity(text: &str) -> Option<(String, usize)> {
    if let Some(number) = text.strip_prefix('#') {
        let (digits, radix) = match number.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (number, 10),
        };
        let length = digits.find(|digit: char| !digit.is_digit(radix)).unwrap_or(digits.len());
        let code = u32::from_str_radix(digits.get(..length)?, radix).ok()?;
        let mut used = text.len() - digits.len() + length;
        used += usize::from(text[used..].starts_with(';'));
        let letter = match code {
            0 | 0xd800..=0xdfff => '\u{fffd}',
            _ => char::from_u32(code).unwrap_or('\u{fffd}'),
        };
        return Some((letter.to_string(), used));
    }
    let length = text.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(text.len());
    let name = &text[..length];
    if text[length..].starts_with(';') {
        let (_, value) = ENTITIES.iter().find(|(known, _)| *known == name)?;
        return Some(((*value).to_owned(), length + 1));
    }
    let bare = BARE.iter().find(|bare| name.starts_with(**bare))?;
    let (_, value) = ENTITIES.iter().find(|(known, _)| known == bare)?;
    Some(((*value).to_owned(), bare.len()))
}

#[cfg(test)]
mod tests {
    use super::{text, unescape, unquote_plus};

    #[test]
    fn web_text_becomes_plain() {
        assert_eq!(unquote_plus("a%20cat+sat%2 %zz caf%C3%A9"), "a cat sat%2 %zz café");
        assert_eq!(text("<p>a <b>cat</b><!-- no > --> 1 < 2 &amp; 3</p>"), "a cat 1 < 2 & 3");
        assert_eq!(text("x<script>var a = 1 < 2;</script>y"), "xy");
        assert_eq!(
            unescape("&eacute;&#233;&#xE9; &ampersand &unknown; & &#;"),
            "ééé &ersand &unknown; & &#;"
        );
        assert_eq!(unescape("&#0;&#xd800;&#99999999;"), "\u{fffd}\u{fffd}\u{fffd}");
    }
}
