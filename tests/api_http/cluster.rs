//! Routes about workers and partitions.

use qdo::api::fake::Fake;
use qdo::model::PartitionId;
use qdo::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView};
use qdo::model::view::QueueView;
use qdo::worker::{PartitionFilter, RequestError};
use reqwest::Method;

use crate::support::{problem, start, taken};

#[tokio::test]
async fn the_cluster_and_its_partitions_are_shown() {
    let server = start().await;
    let cluster: ClusterView = taken(server.get("/v1/cluster").await, 200).await;
    assert_eq!((cluster.answered_by.as_deref(), cluster.sure), (Some("a:1:0"), true));
    let page: PartitionPage = taken(server.get("/v1/cluster/partitions").await, 200).await;
    assert_eq!(page.partitions[0].partition, "1/0");
    let one: PartitionView = taken(server.get("/v1/cluster/partitions/1/0").await, 200).await;
    assert_eq!(one, page.partitions[0]);
    let none = problem(server.get("/v1/cluster/partitions/1/7").await).await;
    assert_eq!(none.kind, "/problems/not-found");
}

#[tokio::test]
async fn a_list_of_partitions_is_of_a_queue_and_goes_on_where_it_ended() {
    let server = start().await;
    let _: PartitionPage = taken(server.get("/v1/cluster/partitions").await, 200).await;
    let query = "namespace=default&queue=mail&after=3/7&limit=5";
    let _: PartitionPage = taken(server.get(&format!("/v1/cluster/partitions?{query}")).await, 200).await;
    let filters: Vec<PartitionFilter> = Fake::filters(&server.fake);
    assert_eq!(filters[0], PartitionFilter { limit: 100, ..PartitionFilter::default() });
    let after = Some(PartitionId { group: 3, index: 7 });
    let (namespace, queue) = (Some("default".to_owned()), Some("mail".to_owned()));
    assert_eq!(filters[1], PartitionFilter { namespace, queue, after, limit: 5 });
    for (query, field) in [
        ("after=3", "after"),
        ("after=-1/2", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("queue=a/b&namespace=default", "queue"),
        ("namespace=", "namespace"),
        ("partition=1/0", "partition"),
    ] {
        let refused = problem(server.get(&format!("/v1/cluster/partitions?{query}")).await).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some(field)), "{query}");
    }
    for path in ["/v1/cluster/partitions/x/0", "/v1/cluster/partitions/1/70000"] {
        assert_eq!(problem(server.get(path).await).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_plan_is_of_one_change() {
    let server = start().await;
    let plan: PlanView = taken(server.get("/v1/cluster/plan?join=host-d").await, 200).await;
    assert_eq!(plan.join.as_deref(), Some("host-d"));
    let plan: PlanView = taken(server.get("/v1/cluster/plan?leave=a:1:0").await, 200).await;
    assert_eq!(plan.leave.as_deref(), Some("a:1:0"));
    for query in ["", "?join=a&leave=b", "?join=", "?leave=%00", "?stay=a"] {
        assert_eq!(
            problem(server.get(&format!("/v1/cluster/plan{query}")).await).await.status,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_worker_is_drained_and_let_take_partitions_again() {
    let server = start().await;
    let path = "/v1/cluster/workers/a%3A1%3A0/drain";
    let drained: DrainView = taken(server.post(path).await, 200).await;
    assert!(drained.draining);
    let again: DrainView = taken(server.delete(path).await, 200).await;
    assert!(!again.draining);
    assert_eq!(server.fake.drained(), [("a:1:0".to_owned(), true), ("a:1:0".to_owned(), false)]);
    assert_eq!(problem(server.get(path).await).await.status, 405);
    server.fake.refuse(RequestError::Conflict("this server is alone".to_owned()));
    assert_eq!(problem(server.post(path).await).await.status, 409);
}

#[tokio::test]
async fn a_namespace_may_be_called_cluster() {
    let server = start().await;
    let put = server.send(Method::PUT, "/v1/cluster/queues/partitions", "application/json", "{}").await;
    let queue: QueueView = taken(put, 200).await;
    assert_eq!((queue.namespace.as_str(), queue.name.as_str()), ("cluster", "partitions"));
}
