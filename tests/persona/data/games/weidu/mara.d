// a comment with ~ in it
BEGIN BMARA
IF ~Global("X","GLOBAL",0)~ THEN BEGIN hello
  SAY @1 = @2
  ++ @3 DO ~SetGlobal("X","GLOBAL",1)~ + bye
  + ~Gender(Player1,FEMALE)~ + @4 EXIT
END
IF ~~ bye SAY ~Literal, <CHARNAME>.~ ~Literal, lady.~ [SOUND01] IF ~~ THEN REPLY ~Off I go.~ JOURNAL ~Mara sent me off.~ EXIT END
/* CHAIN IF ~~ THEN BNOBODY never ~Never said.~ EXIT */
CHAIN IF WEIGHT #1 ~InParty("Tobin")~ THEN BMARA chained
  @5
  == IF_FILE_EXISTS BTOBIN IF ~!Dead("Tobin")~ THEN @6 = @99
  == BMARA @7 DO ~ActionOverride(Player1,Rest())~
EXIT
