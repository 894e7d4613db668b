//! The place of the Apache Kafka transport of `sagas`. There is none yet: the crate is empty, and the feature `kafka` of the
//! facade, which brings it in, adds nothing so far. It will implement the port `saga_core::transport::Transport`.

#![forbid(unsafe_code)]
