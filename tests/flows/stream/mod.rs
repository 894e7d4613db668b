//! `/analytics/stream`: the events that readers receive, and readers that lose the connection, are too slow or too many.

mod analytics;
mod bounds;
mod instances;
mod live;
mod locks;
mod postgres;
mod resume;

pub(crate) use analytics::{Analytics, Instance, happenings, happenings_of_size};
