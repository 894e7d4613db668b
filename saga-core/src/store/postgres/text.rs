//! Text as PostgreSQL can store it: a `TEXT` contains no NUL, and an index row has at most 2,704 bytes.
//!
//! A message from a log can contain any text, and it must not make its batch fail. NUL is escaped. A text without NUL and without the
//! escape character is stored unchanged, so that it is readable in the tables.

use std::borrow::Cow;

/// The prefix of an escaped character.
const ESCAPE: char = '\u{1}';

/// The largest size of an indexed text, in bytes. Two such texts and the name of a service fit into an index row.
const LONGEST: usize = 1_000;

/// Replaces NUL in `text`; [`unescaped`] reverses this.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => safe.extend([ESCAPE, '0']),
            ESCAPE => safe.extend([ESCAPE, '1']),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// Reverses [`escaped`].
pub(super) fn unescaped(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut original = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE if characters.next() == Some('0') => original.push('\0'),
            other => original.push(other),
        }
    }
    original
}

/// The form of `text` that identifies it: escaped, and, if it is too long, its beginning, its length and a digest.
pub(super) fn identity(text: &str) -> Cow<'_, str> {
    let safe = escaped(text);
    if safe.len() <= LONGEST {
        return safe;
    }
    let tail = format!("{ESCAPE}~{}~{:032x}", text.len(), digest(text.as_bytes()));
    let kept = safe.floor_char_boundary(LONGEST - tail.len());
    Cow::Owned(format!("{}{tail}", &safe[..kept]))
}

/// Quotes `name` as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// FNV-1a with 128 bits. The result is stored in tables, so this must never change.
fn digest(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_comes_back_as_it_was(text in "[\0\u{1}01~a-zé]{0,40}") {
            let safe = escaped(&text);
            prop_assert!(!safe.contains('\0'));
            prop_assert_eq!(unescaped(safe.into_owned()), text);
        }
    }

    #[test]
    fn what_is_harmless_is_not_touched() {
        assert!(matches!(escaped("order-1 'é'"), Cow::Borrowed("order-1 'é'")));
        assert!(matches!(identity("order-1"), Cow::Borrowed("order-1")));
    }

    #[test]
    fn long_identities_are_cut_and_still_told_apart() {
        let (one, other) = ("é".repeat(5_000), format!("{}x", "é".repeat(5_000)));
        assert!(identity(&one).len() <= LONGEST && identity(&one) != identity(&other));
        assert_eq!(identity(&one), identity(&one.clone()));
    }

    #[test]
    fn the_digest_is_the_published_one() {
        assert_eq!(digest(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(digest(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
