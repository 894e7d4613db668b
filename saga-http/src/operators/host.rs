//! The host names that a request can ask for, and which of them mean this machine.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the host of `authority`, which can have a port; `None` if it is not valid.
pub(super) fn host(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let plain = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let digits = port.strip_prefix(':').or(port.is_empty().then_some(""))?;
    (plain && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// Whether `host` means the requesting machine itself, independently of name servers.
pub(super) fn is_of_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| same_name(host, "localhost"), |address| address.to_canonical().is_loopback())
}

/// Compares names without case. A name can end with the dot of the root.
pub(super) fn same_name(one: &str, other: &str) -> bool {
    fn bare(name: &str) -> &str {
        name.strip_suffix('.').unwrap_or(name)
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}
