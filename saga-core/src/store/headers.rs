//! The encoding of headers as one blob: a format byte, the number of headers, and for each its name and its value, each after its length.
//!
//! Lengths are LEB128. The length of a value is stored plus one, so that 0 stands for no value.

use bytes::Bytes;

use super::StoreError;
use crate::message::{Header, headers};

const FORMAT: u8 = 1;

pub(super) fn encode(headers: &[Header]) -> Vec<u8> {
    let bytes: usize = headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len) + 4).sum();
    let mut blob = Vec::with_capacity(bytes + 4);
    blob.push(FORMAT);
    put(&mut blob, headers.len());
    for header in headers {
        put(&mut blob, header.name.len());
        blob.extend_from_slice(header.name.as_bytes());
        match &header.value {
            None => put(&mut blob, 0),
            Some(value) => {
                put(&mut blob, value.len() + 1);
                blob.extend_from_slice(value);
            }
        }
    }
    blob
}

/// # Errors
/// When [`encode`] did not write the blob.
pub(super) fn decode(blob: Vec<u8>) -> Result<Vec<Header>, StoreError> {
    read(&mut Bytes::from(blob)).ok_or_else(unknown)
}

/// Returns the headers in `blob`. If [`encode`] did not write it, returns one header with the bytes of the blob, and the reason.
pub(super) fn decode_or_keep(blob: Vec<u8>) -> (Vec<Header>, Option<String>) {
    let kept = Bytes::from(blob);
    match read(&mut kept.clone()) {
        Some(headers) => (headers, None),
        None => (vec![Header { name: headers::UNREADABLE.to_owned(), value: Some(kept) }], Some(unknown().to_string())),
    }
}

fn unknown() -> StoreError {
    StoreError::Incompatible("headers are kept in a form that this program cannot read".into())
}

fn read(rest: &mut Bytes) -> Option<Vec<Header>> {
    let format = take(rest, 1)?;
    let count = (format[0] == FORMAT).then(|| length(rest)).flatten()?;
    // A header takes at least two bytes. Do not allocate more than the blob can contain.
    let mut headers = Vec::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let name = length(rest).and_then(|length| take(rest, length))?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        let value = match length(rest)? {
            0 => None,
            length => Some(take(rest, length - 1)?),
        };
        headers.push(Header { name, value });
    }
    rest.is_empty().then_some(headers)
}

fn put(blob: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        blob.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    blob.push(length as u8);
}

fn length(rest: &mut Bytes) -> Option<usize> {
    let mut length = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take(rest, 1)?[0];
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(raw in vec((".{0,200}", option::of(vec(any::<u8>(), 0..300))), 0..20)) {
            let headers: Vec<Header> =
                raw.into_iter().map(|(name, value)| Header { name, value: value.map(Bytes::from) }).collect();
            prop_assert_eq!(decode(encode(&headers)).expect("our own"), headers);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(blob in vec(any::<u8>(), 0..100)) {
            let _ = decode(blob);
        }

        #[test]
        fn what_is_cut_short_is_refused(raw in vec((".{0,5}", option::of(vec(any::<u8>(), 0..5))), 1..4), cut in 1_usize..4) {
            let headers: Vec<Header> =
                raw.into_iter().map(|(name, value)| Header { name, value: value.map(Bytes::from) }).collect();
            let mut blob = encode(&headers);
            blob.truncate(blob.len() - cut.min(blob.len()));
            prop_assert!(decode(blob).is_err());
        }
    }
}
