//! Placing an order: the request, its rules, and the transaction that writes the order, its first event and that event's outbox
//! row. Idempotency keys are kept for a week ([`keys`](super::keys)).

use sagas::{
    Fault,
    http::{Problem, RequestContext},
    prelude::*,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use utoipa::ToSchema;

use super::{
    domain::Change,
    history::{self, Entry},
};
use crate::{
    contracts::{
        Amount, CustomerId, Money, OrderCreated, OrderId, OrderItem, OrderStatus, PaymentMethod, ProductId, Quantity, price,
        short_text, text_or_null,
    },
    services::parsed,
};

/// A request to place an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": 2, "unitPrice": 9.90}]}))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewOrder {
    customer_id: CustomerId,
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<NewItem>,
    /// The payment method. Default: credit card.
    payment_method: Option<PaymentMethod>,
}

/// One line of a new order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewItem {
    product_id: ProductId,
    /// The name of the product. Default: its id.
    #[schema(schema_with = text_or_null)]
    product_name: Option<String>,
    quantity: Quantity,
    /// The price of one unit.
    #[schema(schema_with = price)]
    unit_price: Amount,
}

impl NewOrder {
    /// Returns the event that creates the order `order_id`.
    ///
    /// # Errors
    /// A problem that names every rule that the request breaks.
    pub fn check(&self, order_id: OrderId) -> Result<OrderCreated, Problem> {
        let mut wrong = Vec::new();
        if !(1..=100).contains(&self.items.len()) {
            wrong.push(("items".to_owned(), "must be 1 to 100 items"));
        }
        let mut total = Some(Money::ZERO);
        for (index, item) in self.items.iter().enumerate() {
            if let Some(Err(rule)) = item.product_name.as_deref().map(short_text) {
                wrong.push((format!("items[{index}].productName"), rule));
            }
            if item.unit_price.0 == Money::ZERO {
                wrong.push((format!("items[{index}].unitPrice"), "must be greater than 0"));
            }
            total = item.unit_price.0.times(item.quantity).and_then(|price| total?.plus(price));
        }
        let Some(total) = total.filter(|_| wrong.is_empty()) else {
            if wrong.is_empty() {
                wrong.push(("items".to_owned(), "cost more than the limit of an amount"));
            }
            let problem = Problem::validation("the order cannot be placed");
            return Err(wrong.into_iter().fold(problem, |problem, (field, rule)| problem.field(field, rule)));
        };
        Ok(OrderCreated {
            order_id,
            customer_id: self.customer_id.clone(),
            items: self.items.iter().map(OrderItem::from).collect(),
            total,
            payment_method: self.payment_method.unwrap_or(PaymentMethod::CreditCard),
        })
    }
}

impl From<&NewItem> for OrderItem {
    fn from(item: &NewItem) -> Self {
        Self {
            product_id: item.product_id.clone(),
            product_name: item.product_name.clone().unwrap_or_else(|| item.product_id.to_string()),
            quantity: item.quantity,
            unit_price: item.unit_price.0,
        }
    }
}

/// The order that a request resulted in.
#[derive(Debug, Clone)]
pub enum Placed {
    /// A new order.
    Now {
        /// The event that creates it.
        created: OrderCreated,
        /// When it was placed.
        at: Timestamp,
    },
    /// The order that an earlier request with the same key placed.
    Before(OrderId),
}

/// Places the order, once for each `key`.
///
/// # Errors
/// When the request breaks a rule, when the key belongs to another request, or when the service cannot accept work.
pub async fn place(
    service: &ServiceHandle,
    context: &RequestContext,
    order: &NewOrder,
    key: Option<&str>,
) -> Result<Placed, Problem> {
    let placed_at = service.clock().now();
    let created = order.check(OrderId(service.ids().uuid(placed_at)))?;
    let mut work = service.begin_for(context).await?;
    if let Some(key) = key
        && let Some(before) = placed_before(&mut work, key, order, created.order_id, placed_at).await?
    {
        // The transaction that placed the earlier order may not be committed yet. It is committed once this transaction is.
        work.commit().await?;
        return Ok(Placed::Before(before));
    }
    let correlation_id = work.correlation_id().to_owned();
    write(&mut work, &created, &correlation_id, placed_at).await?;
    work.commit().await?;
    Ok(Placed::Now { created, at: placed_at })
}

/// Returns the order that `key` already belongs to, or `None` after assigning `key` to `order_id`.
async fn placed_before(
    tx: &mut Tx,
    key: &str,
    request: &NewOrder,
    order_id: OrderId,
    placed_at: Timestamp,
) -> Result<Option<OrderId>, Problem> {
    let request = serde_json::to_string(request).map_err(Fault::from)?;
    let new = sqlx::query(
        "INSERT INTO idempotency_keys (idempotency_key, request, order_id, placed_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(key)
    .bind(&request)
    .bind(order_id.to_string())
    .bind(placed_at.as_millis())
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 1 {
        return Ok(None);
    }
    let before = sqlx::query("SELECT request, order_id FROM idempotency_keys WHERE idempotency_key = $1")
        .bind(key)
        .fetch_one(&mut *tx)
        .await?;
    if before.try_get::<String, _>("request")? != request {
        return Err(Problem::conflict("another order was placed under this Idempotency-Key; use a new key for a new order"));
    }
    Ok(Some(parsed(&before, "order_id")?))
}

async fn write(tx: &mut Tx, created: &OrderCreated, correlation_id: &str, placed_at: Timestamp) -> Result<(), Fault> {
    let event_id = tx.publish(created)?;
    let entry = Entry::new(&Change::Created(created.clone()), event_id, placed_at, correlation_id, None)?;
    history::append(tx, created.order_id, 0, &[entry]).await?;
    sqlx::query(
        "INSERT INTO orders (order_id, customer_id, items, status, total, payment_method, correlation_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(created.order_id.to_string())
    .bind(created.customer_id.as_str())
    .bind(serde_json::to_string(&created.items)?)
    .bind(OrderStatus::Created.as_str())
    .bind(created.total.minor_units())
    .bind(created.payment_method.as_str())
    .bind(correlation_id)
    .bind(placed_at.as_millis())
    .execute(&mut *tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn checked(request: serde_json::Value) -> Result<OrderCreated, Problem> {
        serde_json::from_str::<NewOrder>(&request.to_string()).unwrap().check(OrderId(Uuid::nil()))
    }

    fn item(quantity: u64, unit_price: f64) -> serde_json::Value {
        json!({"productId": "tea", "quantity": quantity, "unitPrice": unit_price})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let created = checked(json!({"customerId": "ada", "items": [item(2, 9.9), item(1, 0.3)]})).unwrap();
        assert_eq!(created.total, Money::eur(2010));
        assert_eq!(created.payment_method, PaymentMethod::CreditCard);
        assert_eq!(created.items[0].product_name, "tea");
    }

    #[test]
    fn every_broken_rule_is_named() {
        let mut nameless = item(1, 1.0);
        nameless["productName"] = json!("");
        let cases = [
            (json!([]), vec!["items"]),
            (json!(vec![item(1, 1.0); 101]), vec!["items"]),
            (json!([item(1, 0.0), nameless]), vec!["items[0].unitPrice", "items[1].productName"]),
            (json!([item(4_294_967_295, 92_233_720_368_547.0)]), vec!["items"]),
        ];
        for (items, fields) in cases {
            let problem = checked(json!({"customerId": "ada", "items": items})).unwrap_err();
            assert_eq!(problem.code(), "VALIDATION_ERROR");
            assert_eq!(problem.errors().iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), fields);
        }
    }
}
