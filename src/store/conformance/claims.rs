//! Claims.

use super::*;

pub async fn the_highest_claim_is_by_number_then_incarnation(store: TestStore) {
    let at = partition(0);
    assert_eq!(read(|| store.highest_claim(at)).await, None);
    // In no order, and with incarnations on both sides of where a signed number would turn.
    let claims = [
        claim(2, 1 << 63),
        claim(1, u64::MAX),
        claim(2, (1 << 63) - 1),
        claim(2, 0),
        claim(2, u64::MAX - 1),
        claim(300, 5),
        claim(2, u64::MAX),
        claim(Epoch::NUMBER_MAX, 1),
    ];
    for (count, claim) in claims.iter().enumerate() {
        write(|| store.insert_claim(at, claim.clone())).await;
        let highest = claims[..=count].iter().max_by_key(|claim| claim.epoch).cloned();
        assert_eq!(read(|| store.highest_claim(at)).await, highest);
    }
    assert_eq!(
        read(|| store.highest_claim(partition(1))).await,
        None,
        "another partition's claims are its own"
    );
    let other_group = PartitionId { group: 8, index: 0 };
    assert_eq!(read(|| store.highest_claim(other_group)).await, None);
}

pub async fn claims_are_listed_newest_first_in_pages(store: TestStore) {
    let at = partition(0);
    let mut newest_first: Vec<Claim> = (0..20u32)
        .map(|number| claim(1 + number / 4, u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect();
    for claim in &newest_first {
        write(|| store.insert_claim(at, claim.clone())).await;
    }
    write(|| store.insert_claim(partition(1), claim(9, 9))).await;
    newest_first.sort_by_key(|claim| std::cmp::Reverse(claim.epoch));
    assert_eq!(read(|| store.claims(at, None, usize::MAX)).await, newest_first);
    assert_eq!(read(|| store.claims(at, None, 3)).await, newest_first[..3]);
    assert_eq!(read(|| store.claims(at, Some(newest_first[2].epoch), 3)).await, newest_first[3..6]);
    assert_eq!(read(|| store.claims(at, Some(newest_first[19].epoch), 3)).await, Vec::new());
    assert_eq!(read(|| store.claims(at, None, 0)).await, Vec::new());
}

pub async fn a_claim_never_changes(store: TestStore) {
    let at = partition(0);
    write(|| store.insert_claim(at, claim(1, 7))).await;
    write(|| store.insert_claim(at, claim(1, 7))).await;
    if !store.writes_blind() {
        let other = Claim { owner: bytes("somebody else"), ..claim(1, 7) };
        assert_invalid(outcome(|| store.insert_claim(at, other.clone())).await);
    }
    let long = Claim { owner: Bytes::from(vec![b'x'; 1_025]), ..claim(2, 1) };
    assert_invalid(outcome(|| store.insert_claim(at, long.clone())).await);
    let high = Claim { epoch: epoch(Epoch::NUMBER_MAX + 1, 1), owner: bytes("x") };
    assert_invalid(outcome(|| store.insert_claim(at, high.clone())).await);
    assert_eq!(read(|| store.claims(at, None, 10)).await, [claim(1, 7)]);
}
