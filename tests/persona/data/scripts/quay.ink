VAR oil = 2
INCLUDE other.ink
/* nobody says
   any of this */
-> quay
=== quay ===
The quay is empty. // a remark
{oil > 1: There is {oil} oil left.}
{The tide is in.|The tide is out.}
    * (lamp) {oil > 0} Light the lamp[.], and wait. # hiss
        ~ oil = oil - 1
        The wick {catches|sputters} at once. -> cellar
    + [Walk away]
        Nobody calls after you. <>
    - { oil == 0:
        It is dark.
      - else:
        It is bright.
      }
"Hello," says someone. # speaker: Mara
= cellar
Down here it is dry.
-> END
=== function dim(x) ===
~ return x - 1
Never shown by itself.
