//! `/analytics/stream`: what its readers are told, and what becomes of readers who lose it, are too slow or too many.

mod analytics;
mod bounds;
mod instances;
mod live;
mod locks;
mod postgres;
mod resume;

pub(crate) use analytics::{Analytics, Instance, happenings, happenings_of_size};
