//! The ports of the services. They are bound first, so that a port in use is reported at once.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
};

use super::ServiceName;

/// The error when a port cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The port is in use, or the process has no permission to bind it.
    #[error("the {service} service cannot listen on {address}: {error}; choose other ports with --base-port")]
    Taken {
        /// The service.
        service: ServiceName,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// `base_port` is so high that a port would exceed 65535.
    #[error("--base-port {0} leaves no room for five ports; the highest is 65531")]
    TooHigh(u16),
}

/// Binds a port for each of `services`. Each service has a fixed offset from `base_port`, whichever of them run; 0 chooses a free
/// port for each.
///
/// # Errors
/// When a port cannot be bound.
pub(super) fn bind(
    services: &[ServiceName],
    host: IpAddr,
    base_port: u16,
) -> Result<BTreeMap<ServiceName, TcpListener>, PortError> {
    let mut listeners = BTreeMap::new();
    for (service, offset) in ServiceName::ALL.into_iter().zip(0..) {
        let port = if base_port == 0 { 0 } else { base_port.checked_add(offset).ok_or(PortError::TooHigh(base_port))? };
        if services.contains(&service) {
            let address = SocketAddr::new(host, port);
            let listener = TcpListener::bind(address).map_err(|error| PortError::Taken { service, address, error })?;
            listeners.insert(service, listener);
        }
    }
    Ok(listeners)
}

/// Returns the URL of each service on its own port after `base_port`, in this or another process of this machine.
pub(crate) fn urls(host: IpAddr, base_port: u16) -> BTreeMap<ServiceName, String> {
    let ports = ServiceName::ALL.into_iter().zip(0..);
    ports.filter_map(|(service, offset)| Some((service, url(SocketAddr::new(host, base_port.checked_add(offset)?))))).collect()
}

/// Returns the URL of a service that listens on `address`, for calls from this machine.
pub(super) fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_service_keeps_its_place_whichever_run() {
        let holder = TcpListener::bind((HERE, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let base = taken - 2;
        let bound = bind(&[ServiceName::Payment], HERE, base);
        let Err(PortError::Taken { service, address, .. }) = bound else { panic!("{bound:?}") };
        assert_eq!((service, address.port()), (ServiceName::Payment, taken));
    }

    #[test]
    fn there_are_no_ports_beyond_the_last() {
        for base in [65_532, 65_535] {
            assert!(matches!(bind(&[ServiceName::Order], HERE, base), Err(PortError::TooHigh(_)) | Err(PortError::Taken { .. })));
        }
    }
}
