//! The inventory service's calls.

use axum::{
    Extension, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sagas::{
    Fault,
    http::{Json, Listed, Page, Path, Problem, Query, operators_only},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use sqlx::{Row, any::AnyRow};

use super::{
    audit,
    domain::{MOST_UNITS, ReservationStatus},
};
use crate::{
    check::Findings,
    contracts::{Amount, Money, OrderId, ProductId, ReservationId, short_text},
    services::{Statement, listed, versioned},
};

/// The most units that one call can add.
const MAX_RESTOCK: i64 = 1_000_000_000;

pub(super) fn routes(service: ServiceHandle) -> Router {
    let api = Router::new()
        .route("/products", get(list).post(add))
        .route("/products/{product_id}", get(show))
        .route("/products/{product_id}/restock", post(restock))
        .route("/reservations", get(reservations))
        .merge(operators_only(&service, Router::new().route("/check", get(check))));
    versioned(api, &service).layer(Extension(service))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProductView {
    product_id: ProductId,
    name: String,
    price: Amount,
    available: i64,
    reserved: i64,
    sold: i64,
}

impl TryFrom<&AnyRow> for ProductView {
    type Error = Fault;

    fn try_from(row: &AnyRow) -> Result<Self, Fault> {
        Ok(Self {
            product_id: ProductId::try_from(row.try_get::<String, _>("product_id")?).map_err(Fault::new)?,
            name: row.try_get("name")?,
            price: Amount(Money::stored(row.try_get("price")?)?),
            available: row.try_get("available")?,
            reserved: row.try_get("reserved")?,
            sold: row.try_get("sold")?,
        })
    }
}

async fn list(Extension(service): Extension<ServiceHandle>, page: Page) -> Result<Listed<ProductView>, Problem> {
    let (products, total) = products(service.database(), &page).await.map_err(Problem::unavailable)?;
    Ok(page.list(products, total))
}

async fn products(db: &Database, page: &Page) -> Result<(Vec<ProductView>, u64), Fault> {
    let select = |what: &str| Ok(Statement::new(format!("SELECT {what} FROM products")));
    listed(db, page, "created_at DESC, product_id DESC", select).await
}

async fn show(
    Extension(service): Extension<ServiceHandle>,
    Path(product_id): Path<String>,
) -> Result<Json<ProductView>, Problem> {
    find(&service, &product_id).await.map(Json)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewProduct {
    product_id: ProductId,
    name: String,
    price: Amount,
    quantity: i64,
}

async fn add(Extension(service): Extension<ServiceHandle>, Json(product): Json<NewProduct>) -> Result<Response, Problem> {
    short_text(&product.name).map_err(|rule| Problem::invalid_field("name", rule))?;
    if product.price.0 == Money::ZERO {
        return Err(Problem::invalid_field("price", "must be greater than 0"));
    }
    if !(0..=MOST_UNITS).contains(&product.quantity) {
        return Err(Problem::invalid_field("quantity", format!("must be from 0 to {MOST_UNITS}")));
    }
    let mut work = service.begin().await?;
    let added = sqlx::query(
        "INSERT INTO products (product_id, name, price, available, initial, created_at) VALUES ($1, $2, $3, $4, $4, $5)
         ON CONFLICT (product_id) DO NOTHING",
    )
    .bind(product.product_id.as_str())
    .bind(&product.name)
    .bind(product.price.0.minor_units())
    .bind(product.quantity)
    .bind(work.now().as_millis())
    .execute(&mut *work)
    .await
    .map_err(Problem::unavailable)?;
    if added.rows_affected() == 0 {
        return Err(Problem::conflict(format!("there is a product {} already", product.product_id)));
    }
    work.commit().await?;
    let NewProduct { product_id, name, price, quantity } = product;
    let segment = utf8_percent_encode(product_id.as_str(), NON_ALPHANUMERIC);
    let location = [(header::LOCATION, format!("/api/v1/products/{segment}"))];
    let product = ProductView { product_id, name, price, available: quantity, reserved: 0, sold: 0 };
    Ok((StatusCode::CREATED, location, Json(product)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restock {
    quantity: i64,
}

async fn restock(
    Extension(service): Extension<ServiceHandle>,
    Path(product_id): Path<String>,
    Json(restock): Json<Restock>,
) -> Result<Json<ProductView>, Problem> {
    if !(1..=MAX_RESTOCK).contains(&restock.quantity) {
        return Err(Problem::invalid_field("quantity", format!("must be from 1 to {MAX_RESTOCK}")));
    }
    let mut work = service.begin().await?;
    let row = sqlx::query(
        "UPDATE products SET available = available + $1, restocked = restocked + $1
         WHERE product_id = $2 AND initial + restocked <= $3 RETURNING *",
    )
    .bind(restock.quantity)
    .bind(named(&product_id)?.to_string())
    .bind(MOST_UNITS - restock.quantity)
    .fetch_optional(&mut *work)
    .await
    .map_err(Problem::unavailable)?;
    let Some(row) = row else {
        find(&service, &product_id).await?;
        return Err(Problem::invalid_field("quantity", format!("there would be more than {MOST_UNITS} units")));
    };
    let product = ProductView::try_from(&row).map_err(Problem::internal)?;
    work.commit().await?;
    Ok(Json(product))
}

/// What can name no product names none that is there.
fn named(product_id: &str) -> Result<ProductId, Problem> {
    ProductId::try_from(product_id.to_owned()).map_err(|_| no_such_product())
}

fn no_such_product() -> Problem {
    Problem::not_found("there is no such product")
}

async fn find(service: &ServiceHandle, product_id: &str) -> Result<ProductView, Problem> {
    let row = sqlx::query("SELECT * FROM products WHERE product_id = $1").bind(named(product_id)?.to_string());
    let row = row.fetch_optional(service.database()).await.map_err(Problem::unavailable)?;
    let row = row.ok_or_else(no_such_product)?;
    ProductView::try_from(&row).map_err(Problem::internal)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationView {
    reservation_id: ReservationId,
    order_id: OrderId,
    product_id: ProductId,
    quantity: i64,
    status: ReservationStatus,
}

impl TryFrom<&AnyRow> for ReservationView {
    type Error = Fault;

    fn try_from(row: &AnyRow) -> Result<Self, Fault> {
        let text = |column: &str| row.try_get::<String, _>(column);
        Ok(Self {
            reservation_id: text("reservation_id")?.parse()?,
            order_id: text("order_id")?.parse()?,
            product_id: ProductId::try_from(text("product_id")?).map_err(Fault::new)?,
            quantity: row.try_get("quantity")?,
            status: text("status")?.parse()?,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    order_id: Option<OrderId>,
}

async fn reservations(
    Extension(service): Extension<ServiceHandle>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<ReservationView>, Problem> {
    let (reservations, total) = reserved(service.database(), &filter, &page).await.map_err(Problem::unavailable)?;
    Ok(page.list(reservations, total))
}

async fn reserved(db: &Database, filter: &Filter, page: &Page) -> Result<(Vec<ReservationView>, u64), Fault> {
    let select = |what: &str| {
        let mut sql = Statement::new(format!("SELECT {what} FROM reservations"));
        if let Some(order_id) = filter.order_id {
            sql.push(" WHERE order_id = ").bind(order_id.to_string())?;
        }
        Ok(sql)
    };
    listed(db, page, "created_at DESC, reservation_id DESC", select).await
}

async fn check(Extension(service): Extension<ServiceHandle>) -> Result<Json<Findings>, Problem> {
    audit::audit(service.database()).await.map(Json).map_err(Problem::unavailable)
}
