//! Upcasts: events of earlier versions, converted to the current version.
//!
//! `#[event(version = 3, upcast(1 => from_v1, 2 => from_v2))]` names functions from one version to the next: `from_v1` takes version 1 and
//! returns what `from_v2` takes, and the last function returns the event. A record of version `n` is decoded as the argument of the first
//! function for a version of at least `n`, and passes through that function and all later ones. So each function is written once, when its
//! version is replaced, and a version without a function is decoded as the next version that has one.

use super::{Decode, Event, event::unreadable};
use crate::failure::Fault;

/// The return value of an upcast: `New`, or a `Result` with it.
#[diagnostic::on_unimplemented(
    message = "this upcast returns `{Self}`, and the next one takes `{New}`",
    label = "not the next shape",
    note = "an upcast returns what the upcast of the next version takes, the last one the event itself; or a `Result` of that, whose error is a `Fault` or becomes one by `?`"
)]
pub trait Upcasted<New> {
    /// Returns the converted value.
    ///
    /// # Errors
    /// Returns the error of the upcast.
    fn upcasted(self) -> Result<New, Fault>;
}

#[diagnostic::do_not_recommend]
impl<New> Upcasted<New> for New {
    fn upcasted(self) -> Result<New, Fault> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<New, E: Into<Fault>> Upcasted<New> for Result<New, E> {
    fn upcasted(self) -> Result<New, Fault> {
        self.map_err(Into::into)
    }
}

/// Decodes a value of `version` as `Old`, the shape that `E` had in that version.
///
/// # Errors
/// Returns an error if the value is not valid for it.
pub fn old<E: Event, Old>(value: &[u8], version: u32) -> Result<Old, Fault>
where
    E::Codec: Decode<Old>,
{
    <E::Codec as Decode<Old>>::decode(value).map_err(|fault| unreadable::<E>(version, fault))
}

/// Converts an `E` of version `from` to the next version.
///
/// # Errors
/// Returns the error of the function, with the event, the version and the name of the function.
pub fn upcast<E: Event, Old, New, Given: Upcasted<New>>(
    from: u32,
    name: &'static str,
    function: fn(Old) -> Given,
    old: Old,
) -> Result<New, Fault> {
    function(old)
        .upcasted()
        .map_err(|fault| Fault::new(format!("{} of version {from} cannot be read: its upcast `{name}` failed: {fault}", E::NAME)))
}
