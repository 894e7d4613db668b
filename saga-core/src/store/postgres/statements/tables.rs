//! The schema in which a statement finds the framework's tables.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The schema of the framework's tables, for a statement.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) enum Tables<'s> {
    /// The first schema of the session's `search_path`: the session is the framework's own.
    OnPath,
    /// This schema, independent of `search_path`: the session belongs to other code.
    In(&'s str),
}

impl Tables<'_> {
    /// The qualified name of the outbox table.
    pub(in crate::store::postgres) fn outbox(self) -> String {
        self.of("sagas_outbox").as_str().to_owned()
    }

    /// Qualifies the names in `sql` that begin with `sagas_`, and replaces `current_schema()`.
    pub(super) fn of(self, sql: &'static str) -> SqlStr {
        match self {
            Self::OnPath => sql.into_sql_str(),
            Self::In(schema) => AssertSqlSafe(qualified(sql, schema)).into_sql_str(),
        }
    }
}

fn qualified(sql: &str, schema: &str) -> String {
    let name = format!("\"{}\".", schema.replace('"', "\"\""));
    let literal = format!("'{}'", schema.replace('\'', "''"));
    let mut whole = String::with_capacity(sql.len() + 4 * name.len());
    let mut rest = sql;
    while let Some(at) = rest.find("sagas_") {
        let (before, found) = rest.split_at(at);
        whole.push_str(before);
        // Skip a match that is the end of a longer name.
        if !before.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == '"') {
            whole.push_str(&name);
        }
        let (prefix, behind) = found.split_at("sagas_".len());
        whole.push_str(prefix);
        rest = behind;
    }
    whole.push_str(rest);
    // This must come last, because the name of the schema can begin with `sagas_` too.
    whole.replace("current_schema()", &literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_framework_are_qualified_and_nothing_else() {
        let sql = "INSERT INTO sagas_steps (id) SELECT sagas_digest(x) FROM not_sagas_steps WHERE d = sagas_digest(y) \
                   AND current_setting('sagas.unit', true) <> '' AND s = current_schema()";
        assert_eq!(
            qualified(sql, "o\"d'd"),
            "INSERT INTO \"o\"\"d'd\".sagas_steps (id) SELECT \"o\"\"d'd\".sagas_digest(x) FROM not_sagas_steps \
             WHERE d = \"o\"\"d'd\".sagas_digest(y) AND current_setting('sagas.unit', true) <> '' AND s = 'o\"d''d'"
        );
    }

    #[test]
    fn the_name_of_the_schema_is_not_taken_for_a_table() {
        let sql = "SELECT hashtextextended(concat_ws('~', current_schema(), id), 0) FROM sagas_steps";
        assert_eq!(
            qualified(sql, "sagas_shop"),
            "SELECT hashtextextended(concat_ws('~', 'sagas_shop', id), 0) FROM \"sagas_shop\".sagas_steps"
        );
    }

    #[test]
    fn on_the_path_nothing_changes() {
        let sql = "SELECT 1 FROM sagas_steps";
        assert_eq!(Tables::OnPath.of(sql).as_str(), sql);
    }
}
