//! The URLs of services that run elsewhere.

use std::collections::BTreeMap;

use super::ServiceName;

/// Parses URLs such as `inventory=http://inventory:8082,payment=http://payment:8083`.
///
/// # Errors
/// When a name is not a service, or an address is not a URL.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<ServiceName, String>, String> {
    let given = text.split(',').map(str::trim).filter(|peer| !peer.is_empty());
    given.map(|peer| one(peer).map_err(|why| format!("`{peer}`: {why}"))).collect()
}

fn one(peer: &str) -> Result<(ServiceName, String), String> {
    let (name, url) = peer.split_once('=').ok_or("write SERVICE=URL, as inventory=http://inventory:8082")?;
    let name = name.trim().parse()?;
    let parsed = reqwest::Url::parse(url.trim()).map_err(|error| error.to_string())?;
    let plain = ["http", "https"].contains(&parsed.scheme()) && parsed.path() == "/" && parsed.query().is_none();
    match plain && parsed.username().is_empty() && parsed.password().is_none() {
        true => Ok((name, url.trim().trim_end_matches('/').to_owned())),
        false => Err("write the address as http://host:port, with nothing behind the port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_service_has_an_address() {
        assert!(parse("").unwrap().is_empty());
        let peers = parse("inventory=http://inventory:8082/, payment=https://pay.example").unwrap();
        assert_eq!(peers[&ServiceName::Inventory], "http://inventory:8082");
        assert_eq!(peers[&ServiceName::Payment], "https://pay.example");
        for (wrong, why) in [
            ("inventory", "write SERVICE=URL"),
            ("stock=http://a", "is not a service"),
            ("payment=ftp://a", "write the address as http://host:port"),
            ("payment=http://a/b", "write the address as http://host:port"),
            ("payment=http://me:secret@a", "write the address as http://host:port"),
            ("payment=a b", "relative URL"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
