/*
 * A program of nothing, for linking a layer whole.
 */
int main(void)
{
    return 0;
}
