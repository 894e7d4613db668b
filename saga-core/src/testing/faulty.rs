//! A transport that misbehaves on demand.
