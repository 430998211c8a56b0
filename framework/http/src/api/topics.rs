//! Topics: which there are, a page of records, and appending to them.

use crate::{
    NewRecord, ReadFrom, RecordPage, TopicStatus,
    app::App,
    error::{ApiError, ApiResult},
};
use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Records in a page when the client names no limit.
const USUAL_PAGE: usize = 50;

/// `GET /topics`.
pub(crate) async fn list(State(app): State<Arc<App>>) -> ApiResult<Json<Vec<TopicStatus>>> {
    Ok(Json(app.ask(|program| program.topics()).await??))
}

/// How a page of records is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadQuery {
    #[serde(default)]
    partition: u32,
    offset: Option<i64>,
    limit: Option<usize>,
}

/// `GET /topics/{topic}/records?partition=&offset=&limit=`; without an offset, the last records.
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    topic: Result<Path<String>, PathRejection>,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> ApiResult<Json<RecordPage>> {
    let (Path(topic), Query(query)) = (topic?, query?);
    let limit = app.page_size(query.limit, USUAL_PAGE)?;
    let from = match query.offset {
        Some(offset) if offset < 0 => {
            return Err(ApiError::bad_request(format!(
                "offset must not be negative: {offset}"
            )));
        }
        Some(offset) => ReadFrom::Offset(offset),
        None => ReadFrom::Last(limit),
    };
    let ask =
        move |program: &dyn crate::Introspect| program.read(&topic, query.partition, from, limit);
    let page = app.ask(ask).await??;
    Ok(Json(page))
}

/// What an append carries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Append {
    records: Vec<NewRecord>,
}

/// `POST /topics/{topic}/records`.
pub(crate) async fn append(
    State(app): State<Arc<App>>,
    topic: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<Value>> {
    let Path(topic) = topic?;
    if !is_json(&headers) {
        let message = "the content type must be application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(ApiError::new(status, "unsupported_media_type", message));
    }
    let Append { records } = serde_json::from_slice(&body?)
        .map_err(|error| ApiError::bad_request(format!("the body is not an append: {error}")))?;
    let most = app.limits.append_records;
    if records.is_empty() {
        return Err(ApiError::bad_request("no records"));
    }
    if records.len() > most {
        let message = format!("{} records, more than the {most} allowed", records.len());
        return Err(ApiError::too_large(message));
    }
    let offsets = app
        .ask(move |program| program.append(&topic, records))
        .await??;
    Ok(Json(json!({ "offsets": offsets })))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
