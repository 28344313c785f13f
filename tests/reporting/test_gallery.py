from otoc_lib.reporting.gallery import best_median_worst


def test_rooms_that_stand_for_an_evaluation(results, scenes):
    val = scenes["val"]  # the made-up predictions get worse from room to room
    chosen = best_median_worst(results, "otoc", "evaluate_3", val)
    assert chosen == {"best": val[0], "median": val[1], "worst": val[3]}
    assert best_median_worst(results, "otoc", "evaluate_3", val[:2]) == {"best": val[0], "worst": val[1]}
    assert best_median_worst(results, "otoc", "evaluate_3", val[:1]) == {"best": val[0]}
    assert best_median_worst(results, "otoc", "evaluate_4", val) == {}
