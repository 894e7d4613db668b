//! The statements that list the services of a database, for all SQL databases.

/// The services of a table, with one index lookup for each.
macro_rules! of {
    ($table:literal) => {
        concat!(
            "WITH RECURSIVE found (service) AS (SELECT min(service) FROM ",
            $table,
            " UNION ALL SELECT (SELECT min(service) FROM ",
            $table,
            " WHERE service > found.service) FROM found WHERE service IS NOT NULL) SELECT service FROM found WHERE service IS NOT NULL"
        )
    };
}

/// One statement for each table that has rows of services.
pub(in crate::store) const OF_TABLES: [&str; 5] =
    [of!("sagas_instances"), of!("sagas_steps"), of!("sagas_definitions"), of!("sagas_dead_letters"), of!("sagas_partitions")];
