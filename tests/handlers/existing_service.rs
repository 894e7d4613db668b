//! `docs/guide/existing-service.md` and the example of that name. Their handlers use the PostgreSQL connection.

use sagas::{Database, store::Migration};
use sagas_tests::schema::Schema;

const GUESTS: &[Migration] = &[Migration { version: 1, name: "guests", sql: "CREATE TABLE guests (booking TEXT NOT NULL)" }];

async fn guests(database: &Database) -> Vec<String> {
    sqlx::query_scalar("SELECT booking FROM guests").fetch_all(database).await.unwrap()
}

mod page {
    shown!("existing-service", "welcome");

    #[tokio::test]
    #[ignore = "needs PostgreSQL: scripts/postgres start"]
    async fn a_guest_is_welcome() {
        let schema = super::Schema::new();
        let database = schema.open().await;
        sagas::testing::migrate(&database, super::GUESTS).await;
        let (tx, open) = sagas::testing::tx(&database).await.unwrap();
        welcome(On(SeatsBooked { booking_id: "a".into(), seats: 2 }), tx).await.unwrap();
        open.commit().await.unwrap();
        assert_eq!(super::guests(&database).await, ["a"]);
    }
}

mod example {
    shown!("examples/existing-service/main", "welcome");

    #[tokio::test]
    #[ignore = "needs PostgreSQL: scripts/postgres start"]
    async fn there_is_a_guest_for_each_seat() {
        let schema = super::Schema::new();
        let database = schema.open().await;
        sagas::testing::migrate(&database, super::GUESTS).await;
        let (tx, open) = sagas::testing::tx(&database).await.unwrap();
        welcome(On(SeatsBooked { booking_id: "b".into(), seats: 2 }), tx).await.unwrap();
        open.commit().await.unwrap();
        assert_eq!(super::guests(&database).await, ["b", "b"]);
    }
}
