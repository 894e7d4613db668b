//! Tools for tests that start the example as processes: the program, its services over HTTP, customers that place orders through
//! failures, and the checks afterwards.

mod books;
mod customer;
mod program;
mod site;

pub use books::{all_events, all_have_ended, every_order_ended_as_it_should, fates, the_sums_are_right};
pub use customer::{Acknowledged, Customers, Fate, place, wanted};
pub use program::{Ended, Program, command, eventually, free_base_port};
pub use site::{Service, Site};
