"""The 11 actions of Berkeley MHAD in words. Sides are the performer's own."""

from __future__ import annotations

from shards.wordings import Wordings

# fmt: off
ACTIONS: tuple[Wordings, ...] = (  # action 1 is ACTIONS[0]
    Wordings("jumping_in_place", "jumping in place",
        ("a person jumps up and down on the spot", "someone hops in place with both feet",
         "both feet leave the floor again and again without moving forward", "a person keeps jumping where they stand"),
        ("jumping on the spot", "repeated small jumps in one place")),
    Wordings("jumping_jacks", "jumping jacks",
        ("a person does jumping jacks", "someone jumps with legs apart and arms overhead, then back together",
         "arms and legs swing out and in with every jump", "a person jumps into the shape of a star"),
        ("doing star jumps", "jumps in which the arms and legs open and close")),
    Wordings("bending", "bending, hands up all the way down",
        ("a person raises both hands and bends all the way down", "someone bends forward from the waist until the hands reach the floor",
         "the trunk bends down with stretched arms and comes up again", "from hands overhead a person folds down towards the toes"),
        ("bending over to touch the floor", "hands go from overhead down to the feet")),
    Wordings("punching", "punching (boxing)",
        ("a person throws punches", "someone boxes into the air with both fists",
         "the fists strike forward one after the other", "a boxer punches with left and right"),
        ("boxing against the air", "quick punches with both hands")),
    Wordings("waving_two_hands", "waving two hands",
        ("a person waves with both hands", "someone lifts both arms and waves",
         "both raised hands swing from side to side", "a person signals by waving two hands"),
        ("a wave with both arms", "waving the left and the right hand together")),
    Wordings("waving_one_hand", "waving one hand (right)",
        ("a person waves with the right hand", "someone lifts the right arm and waves",
         "the raised right hand swings from side to side", "a person greets with one hand, the right"),
        ("a wave with the right hand only", "waving one hand while the other hangs still")),
    Wordings("clapping", "clapping hands",
        ("a person claps the hands", "someone applauds",
         "the palms are struck together again and again", "a person claps in front of the chest"),
        ("clapping with both hands", "applause, hands meeting before the body")),
    Wordings("throwing", "throwing a ball",
        ("a person throws a ball", "someone draws the arm back and throws",
         "one arm swings forward and lets a ball go", "a person pitches a ball overhand"),
        ("hurling a ball with one arm", "a ball is thrown forward")),
    Wordings("sit_down_stand_up", "sit down then stand up",
        ("a person sits down on a chair and stands up again", "someone takes a seat, then rises",
         "from standing to sitting and back to standing", "a person lowers onto a chair and gets up, over and over"),
        ("sitting down and then getting up", "going down onto a seat and up again")),
    Wordings("sit_down", "sit down",
        ("a person sits down on a chair", "someone settles into a chair",
         "from standing the body lowers onto a chair", "a person goes from standing to sitting"),
        ("taking a seat", "lowering oneself onto a chair")),
    Wordings("stand_up", "stand up",
        ("a person stands up from a chair", "someone gets up from a seat",
         "from sitting the body rises to standing", "a person goes from sitting to standing"),
        ("getting up from a chair", "rising to the feet")),
)
# fmt: on
