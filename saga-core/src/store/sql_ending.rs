//! Statements that would end the transaction in which they run.

use sqlx::Error;

use super::StoreError;

/// Refuses `sql` if it begins with a keyword that ends the transaction, because only the delivery or the unit of work can end it. The store
/// detects such a keyword later in the text, or in a statement on the native connection.
pub(super) fn refuse(sql: &str) -> Result<(), Error> {
    let mut words = Words(sql);
    let word = words.next().unwrap_or_default();
    let is = |word: &str, names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    let ends = match word {
        word if is(word, &["COMMIT", "END", "ABORT"]) => true,
        // `ROLLBACK TO` a savepoint does not end the transaction.
        word if is(word, &["ROLLBACK"]) => {
            !words.find(|word| !is(word, &["TRANSACTION", "WORK"])).is_some_and(|next| is(next, &["TO"]))
        }
        _ => false,
    };
    if !ends {
        return Ok(());
    }
    let word = word.to_ascii_uppercase();
    Err(StoreError::Refused(format!(
        "{word} among the statements of a transaction: leave that to the framework, and return an error to have it rolled back"
    ))
    .into())
}

/// The words at the beginning of a statement, without comments.
struct Words<'s>(&'s str);

impl<'s> Iterator for Words<'s> {
    type Item = &'s str;

    fn next(&mut self) -> Option<&'s str> {
        let text = loop {
            let text = self.0.trim_start();
            let comment = text.strip_prefix("--").map(|text| (text, "\n"));
            match comment.or_else(|| text.strip_prefix("/*").map(|text| (text, "*/"))) {
                Some((text, end)) => self.0 = text.split_once(end)?.1,
                None => break text,
            }
        };
        let (word, rest) = text.split_at(text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_transaction_is_refused_by_name() {
        for (sql, refused) in [
            ("COMMIT", Some("COMMIT among")),
            ("  rollback;", Some("ROLLBACK among")),
            ("-- why\n/* because */ End Transaction", Some("END among")),
            ("ROLLBACK TRANSACTION; BEGIN", Some("ROLLBACK among")),
            ("ABORT", Some("ABORT among")),
            ("ROLLBACK TO here", None),
            ("rollback work to savepoint here", None),
            ("SAVEPOINT here", None),
            ("INSERT INTO ends VALUES ('COMMIT')", None),
            ("ENDS", None),
            ("-- COMMIT", None),
            ("", None),
        ] {
            let answer = refuse(sql).map_err(|error| error.to_string());
            match (refused, answer) {
                (None, answer) => assert_eq!(answer, Ok(()), "{sql}"),
                (Some(what), answer) => assert!(answer.as_ref().is_err_and(|error| error.contains(what)), "{sql}: {answer:?}"),
            }
        }
    }
}
