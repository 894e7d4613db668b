//! The encoding of a record's headers as one blob. The number of headers comes first. Each header has the length and the bytes of its name,
//! then the length plus one and the bytes of its value; a length of 0 stands for a missing value. Numbers are LEB128.

use bytes::{BufMut, Bytes};

use crate::message::Header;

/// Encodes headers.
pub(super) fn encode(headers: &[Header]) -> Vec<u8> {
    let size: usize = headers.iter().map(|header| 20 + header.name.len() + header.value.as_ref().map_or(0, Bytes::len)).sum();
    let mut blob = Vec::with_capacity(10 + size);
    put(&mut blob, headers.len());
    for header in headers {
        put(&mut blob, header.name.len());
        blob.put_slice(header.name.as_bytes());
        match &header.value {
            None => put(&mut blob, 0),
            Some(value) => {
                put(&mut blob, value.len() + 1);
                blob.put_slice(value);
            }
        }
    }
    blob
}

/// Decodes headers. Their values are slices of one copy of the blob. Returns `None` if the blob is malformed.
pub(super) fn decode(blob: &[u8]) -> Option<Vec<Header>> {
    let mut blob = Bytes::copy_from_slice(blob);
    let count = take(&mut blob)?;
    // A header has at least two bytes. This bounds the allocation by the input, even if the count is wrong.
    let mut headers = Vec::with_capacity(count.min(blob.len() / 2));
    for _ in 0..count {
        let length = take(&mut blob)?;
        let name = std::str::from_utf8(&slice(&mut blob, length)?).ok()?.to_owned();
        let value = match take(&mut blob)? {
            0 => None,
            length => Some(slice(&mut blob, length - 1)?),
        };
        headers.push(Header { name, value });
    }
    blob.is_empty().then_some(headers)
}

fn put(blob: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        blob.push(number as u8 | 0x80);
        number >>= 7;
    }
    blob.push(number as u8);
}

fn take(blob: &mut Bytes) -> Option<usize> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = *slice(blob, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(number).ok();
        }
    }
    None
}

fn slice(blob: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= blob.len()).then(|| blob.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = Vec<Header>> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
        let header = (".{0,8}", value).prop_map(|(name, value)| Header { name, value: value.map(Bytes::from) });
        prop::collection::vec(header, 0..5)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(headers in headers()) {
            prop_assert_eq!(decode(&encode(&headers)), Some(headers));
        }

        #[test]
        fn any_bytes_are_headers_or_refused(blob in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&blob);
        }
    }

    #[test]
    fn a_cut_blob_is_refused() {
        let blob = encode(&[Header::text("ce_id", "1"), Header { name: "x".into(), value: None }]);
        for length in 0..blob.len() {
            assert_eq!(decode(&blob[..length]), None, "{length} bytes of {}", blob.len());
        }
    }
}
