//! Queries of state: which stores, one value, a range of keys.

use crate::{
    Range, RangePage, StoreStatus,
    app::App,
    error::{ApiError, ApiResult},
};
use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Entries in a page when the client names no limit.
const USUAL_PAGE: usize = 100;

/// `GET /stores`.
pub(crate) async fn list(State(app): State<Arc<App>>) -> ApiResult<Json<Vec<StoreStatus>>> {
    app.ask(|program| program.stores()).await.map(Json)
}

/// `GET /stores/{name}/{key}`.
pub(crate) async fn value(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> ApiResult<Json<Value>> {
    let Path((store, key)) = path?;
    let asked = key.clone();
    match app
        .ask(move |program| program.get(&store, &asked))
        .await??
    {
        Some(value) => Ok(Json(json!({ "key": key, "value": value }))),
        None => {
            let message = format!("no key {key:?} in the store");
            Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_key", message))
        }
    }
}

/// How a range is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeQuery {
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /stores/{name}?from=&to=&cursor=&limit=`.
pub(crate) async fn range(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<RangeQuery>, QueryRejection>,
) -> ApiResult<Json<RangePage>> {
    let (Path(store), Query(query)) = (path?, query?);
    let range = Range {
        limit: app.page_size(query.limit, USUAL_PAGE)?,
        from: query.from,
        to: query.to,
        cursor: query.cursor,
    };
    let page = app
        .ask(move |program| program.range(&store, &range))
        .await??;
    Ok(Json(page))
}
